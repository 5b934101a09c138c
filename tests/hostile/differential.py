"""Random graphs through every pair of formats: ``python -m tests.hostile.differential [--count N] [--seed S]``.

A graph is converted to each format, and from there to each again. What comes out has to be what onnxruntime computes of
the graph itself; where a conversion is refused, each refusal has to name an operator. A failure is made smaller by
hypothesis, and printed as a model. ``--nnsmith`` takes the graphs of NNSmith instead, where it is installed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings

import workbench as wb
from tests.hostile import smith
from tests.hostile.graphs import Graph, graphs

TARGETS = ("onnx", "nnef", "coreml")
TOLERANCE = 1e-3
"""Of the largest value of a tensor: float32 through several convolutions, with sums in other orders."""

Array = np.ndarray[Any, Any]


class Mismatch(AssertionError):
    """A conversion that was not refused, and computes something else."""


def outcomes(graph: Graph) -> Iterator[tuple[str, str]]:
    """Every route that the graph takes, and ``same``, ``refused`` or ``no kernel`` (of onnxruntime's for a dtype).

    Raises:
        Mismatch: a route that is neither.
    """
    proto = graph.model()
    if proto.graph.output:
        feeds = {name: graph.values[name] for name in graph.feeds}
        yield from routes(proto, feeds, {value.name: graph.values[value.name] for value in proto.graph.output})


def routes(
    proto: onnx.ModelProto,
    feeds: dict[str, Array],
    expected: dict[str, Array],
    spread: Mapping[str, float] | None = None,
) -> Iterator[tuple[str, str]]:
    """The same of a model, what it is fed and what it has to compute.

    Args:
        spread: output → how far roundings of the same kind move it, where that is more than usual.
    """
    judge = Judge(proto, expected, spread or {})
    try:
        source = wb.load(proto)
        source.run(feeds)
    except wb.ExecutionError:  # an operator for which onnxruntime has no kernel at the hub's opset
        return
    except wb.WorkbenchError as error:
        raise Mismatch(f"cannot be opened: {error}\n{_text(proto)}") from error
    judge(source, feeds, "onnx")
    for first in TARGETS:
        made = _converted(source, first)
        if made is None:
            yield f"onnx → {first}", "refused"
            continue
        yield f"onnx → {first}", judge(made, feeds, f"onnx → {first}")
        if first == "onnx":
            continue
        for second in TARGETS:
            again = _converted(made, second)
            if again is None:
                yield f"{first} → {second}", "refused"
                continue
            fed = {spec.name: array for spec, array in zip(again.inputs, _fed(made, feeds), strict=True)}
            yield f"{first} → {second}", judge(again, fed, f"onnx → {first} → {second}")


def _fed(model: wb.Model, feeds: dict[str, Array]) -> list[Array]:
    adapted = model.adapt_feeds(feeds)
    return [adapted[spec.name] for spec in model.inputs]


def _converted(model: wb.Model, target: str) -> wb.Model | None:
    try:
        return model.convert(target)
    except wb.ConversionError as error:
        for refusal in error.refusals:
            if not refusal.operator or not refusal.cause:
                raise Mismatch(f"a refusal names no operator or cause: {refusal}") from error
        return None
    except wb.WorkbenchError as error:
        raise Mismatch(f"{model.format} → {target}: {error}") from error


class Judge:
    """Holds a model's results against what is expected of the graph."""

    def __init__(self, proto: onnx.ModelProto, expected: dict[str, Array], spread: Mapping[str, float]) -> None:
        self._proto, self._expected, self._spread = proto, expected, spread

    def __call__(self, model: wb.Model, feeds: dict[str, Array], route: str) -> str:
        """``same``, or ``no kernel``.

        Raises:
            Mismatch: the results are others, or there are none for another reason.
        """
        try:
            results = list(model.run(feeds).values())
        except wb.WorkbenchError as error:
            if "NOT_IMPLEMENTED" in str(error):
                return "no kernel"
            raise Mismatch(f"{route}: cannot be run: {error}\n{_text(self._proto)}") from error
        for found, (name, wanted) in zip(results, self._expected.items(), strict=True):
            wrong = _difference(found, wanted, self._spread.get(name, 0.0))
            if wrong:
                raise Mismatch(f"{route}: the output {name} {wrong}\n{_text(self._proto)}")
        return "same"


def _difference(found: Array, wanted: Array, spread: float) -> str:
    # Core ML hands out 0 and 1 for booleans, NNEF has one type of integers.
    kinds = {"b": "bfi", "u": "ui"}.get(wanted.dtype.kind, wanted.dtype.kind)
    if found.dtype.kind not in kinds:
        return f"is {found.dtype}, not {wanted.dtype}"
    if found.size != wanted.size or (found.shape != wanted.shape and wanted.ndim > 0):
        return f"is of shape {found.shape}, not {wanted.shape}"
    difference = np.abs(found.astype(np.float64) - wanted.reshape(found.shape).astype(np.float64)).max(initial=0)
    allowed = TOLERANCE * max(np.abs(wanted.astype(np.float64)).max(initial=0), 1) + spread
    return "" if difference <= allowed else f"differs by {difference}"


def _text(proto: onnx.ModelProto) -> str:
    text: str = onnx.printer.to_text(proto)
    return text if len(text) < 6000 else f"{text[:6000]}…"


def run(count: int, start: int, collect: list[str] | None = None) -> Counter[tuple[str, str]]:
    """Try graphs; counts of routes and what became of them.

    A failure is raised, in its smallest form; or all of them are collected as they come, if there is a list for them.
    """
    counts: Counter[tuple[str, str]] = Counter()

    @seed(start)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(graphs())
    def one(graph: Graph) -> None:
        try:
            found = list(outcomes(graph))
        except Mismatch as error:
            if collect is None:
                raise
            collect.append(str(error))
            return
        counts.update(found)
        counts["graphs", "tried"] += bool(found)

    one()
    return counts


def run_smith(count: int, start: int, collect: list[str]) -> Counter[tuple[str, str]]:
    """Try graphs of NNSmith's: counts of routes as of :func:`run`, and of what became of the graphs.

    ``moved`` are those that the conversions compute as differently as roundings of the same size would.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for number, proto, feeds in smith.models(count, start):
        expected = smith.computed(proto, feeds)
        if expected is None:
            counts["graphs", "without a kernel"] += 1
        elif not all(np.isfinite(array).all() for array in expected.values() if array.dtype.kind == "f"):
            counts["graphs", "not finite"] += 1
        else:
            found, what = _judged(proto, feeds, expected)
            counts.update(found)
            counts["graphs", what if what in ("tried", "moved") else "failed"] += bool(found)
            if what not in ("tried", "moved"):
                collect.append(f"NNSmith's {number}: {what}")
    return counts


def _judged(
    proto: onnx.ModelProto, feeds: dict[str, Array], expected: dict[str, Array]
) -> tuple[list[tuple[str, str]], str]:
    try:
        return list(routes(proto, feeds, expected)), "tried"
    except Mismatch:
        spread = smith.spread(proto, feeds, expected)
    try:
        return list(routes(proto, feeds, expected, spread)), "moved"
    except Mismatch as error:
        return [("", "")], str(error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nnsmith", action="store_true", help="graphs of NNSmith's; there has to be PyTorch, too")
    parser.add_argument(
        "--all", action="store_true", help="list all failures as they come, without making them smaller"
    )
    chosen = parser.parse_args()
    if chosen.nnsmith and not smith.installed():
        print("NNSmith or PyTorch is not installed here (pip install nnsmith): its graphs are skipped")
        return 0
    failures: list[str] | None = [] if chosen.all or chosen.nnsmith else None
    try:
        counts = (run_smith if chosen.nnsmith else run)(chosen.count, chosen.seed, failures)
    except Exception as error:  # hypothesis raises the smallest failures, several as a group
        print(f"failed: {error}")
        for inner in getattr(error, "exceptions", ()):
            print(f"  {inner}")
        return 1
    for (route, verdict), number in sorted(counts.items()):
        print(f"{route}: {number} {verdict}")
    for failure in failures or ():
        print(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
