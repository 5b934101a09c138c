"""NNEF ↔ Core ML on real models and architectures: ``python -m tests.conformance.nnef_pairs [NAME …]``.

Each network is converted to the one format, saved, read, converted to the other, saved, read again, and compared with
what it was converted from, layer by layer; its outputs with those of the model that it comes from. What a format cannot
say has to be refused with what would help. The exit code is 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.real_models import COREML, ONNX

SUFFIXES = {"nnef": ".nnef", "coreml": ".mlpackage"}
ROUTES = (("nnef", "coreml"), ("coreml", "nnef"))
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Network:
    """A network: its model as it came, the sizes of its inputs where they are open, and feeds."""

    name: str
    model: wb.Model
    shapes: Mapping[str, tuple[int, ...]]
    feeds: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What became of one network on one route: ``ok``, ``refused`` with its causes, or ``wrong`` with what differs."""

    network: str
    route: str
    verdict: str
    detail: str

    def __str__(self) -> str:
        return f"{self.network:24} {self.route:24} {self.verdict:8} {self.detail}"


def real_models(names: Collection[str] | None = None) -> Iterator[Network]:
    """The trained models of ``tests/real_models.py``."""
    for real in ONNX:
        if names is not None and real.name not in names:
            continue
        model = wb.load(real.source)
        yield Network(real.name, model, real.shapes, real.feeds(model))
    for name, package in COREML.items():
        if names is not None and f"{name}.mlpackage" not in names:
            continue
        model = wb.load(package.path)
        shape = next(iter(next(real for real in ONNX if real.name == name).shapes.values()))
        spec = model.inputs[0]
        feeds = {spec.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
        yield Network(f"{name}.mlpackage", model, {} if spec.is_static else {spec.name: shape}, feeds)


def architectures(names: Collection[str] | None = None) -> Iterator[Network]:
    """The architectures of ``tests/architectures.py``, and the published ones where they can be made, by PyTorch."""
    import torch

    from tests.conformance.architectures import MAKERS

    for name, make in MAKERS.items():
        if names is not None and name not in names:
            continue
        torch.manual_seed(0)
        module, inputs = make(name)
        model = wb.load(module.eval(), example_inputs=inputs)
        feeds = {spec.name: value.numpy() for spec, value in zip(model.inputs, inputs, strict=True)}
        yield Network(name, model, {}, feeds)


def check(network: Network, route: tuple[str, str], folder: Path) -> Finding:
    """Convert the network along the route and compare."""
    label = " → ".join(dict.fromkeys((network.model.format, *route)))
    before: wb.Model = network.model
    options: dict[str, Any] = {"shapes": dict(network.shapes)} if network.shapes else {}
    try:
        for step, target in enumerate(route):
            if before.format == target:
                continue
            after = wb.load(before.convert(target, **options).save(folder / f"{step}{SUFFIXES[target]}"))
            report = wb.compare(before, after, feeds=_feeds(before, network))
            if not report.ok:
                return Finding(network.name, label, "wrong", f"{before.format} → {target}: {report.worst(1)}")
            before, options = after, {}
    except wb.ConversionError as error:
        helped = all(refusal.cause for refusal in error.refusals)
        causes = "; ".join(sorted({refusal.cause for refusal in error.refusals}))
        return Finding(network.name, label, "refused" if helped else "wrong", causes)
    expected = network.model.run(network.feeds)
    found = before.run(_feeds(before, network))
    worst = 0.0
    for mine, other in zip(found.values(), expected.values(), strict=True):
        scale = max(float(np.abs(other).max()), 1e-6)
        worst = max(worst, float(np.abs(mine.reshape(other.shape).astype("f8") - other.astype("f8")).max()) / scale)
    return Finding(network.name, label, "ok" if worst < TOLERANCE else "wrong", f"largest difference {worst:.1e}")


def _feeds(model: wb.Model, network: Network) -> dict[str, Any]:
    """The network's feeds under the names and in the dtypes that the model has for them."""
    feeds = {}
    for spec, value in zip(model.inputs, network.feeds.values(), strict=True):
        feeds[spec.name] = np.asarray(value).astype(spec.dtype)
    return feeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only networks of these names")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    names = chosen.names or None
    for networks in (real_models(names), architectures(names)):
        for network in networks:
            for route in ROUTES:
                with tempfile.TemporaryDirectory() as folder:
                    finding = check(network, route, Path(folder))
                wrong += finding.verdict == "wrong"
                print(finding, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
