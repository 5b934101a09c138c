"""Random graphs through every pair of formats: ``python -m tests.hostile.differential [--count N] [--seed S]``.

A graph is converted to each format, and from there to each again. What comes out has to be what onnxruntime computes of
the graph itself; where a conversion is refused, each refusal has to name an operator. A failure is made smaller by
hypothesis, and printed as a model.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings

import workbench as wb
from tests.hostile.graphs import Graph, graphs

TARGETS = ("onnx", "nnef", "coreml")
TOLERANCE = 1e-3
"""Of the largest value of a tensor: float32 through several convolutions, with sums in other orders."""

Array = np.ndarray[Any, Any]


class Mismatch(AssertionError):
    """A conversion that was not refused, and computes something else."""


def outcomes(graph: Graph) -> Iterator[tuple[str, str]]:
    """Every route that the graph takes, and ``same`` or ``refused``.

    Raises:
        Mismatch: a route that is neither.
    """
    proto = graph.model()
    if not proto.graph.output:
        return
    feeds = {name: graph.values[name] for name in graph.feeds}
    expected = {value.name: graph.values[value.name] for value in proto.graph.output}
    source = wb.load(proto)
    try:
        source.run(feeds)
    except wb.ExecutionError:  # an operator for which onnxruntime has no kernel at the hub's opset
        return
    _check(source, feeds, expected, "onnx", proto)
    for first in TARGETS:
        made = _converted(source, first)
        yield f"onnx → {first}", "refused" if made is None else "same"
        if made is None:
            continue
        _check(made, feeds, expected, f"onnx → {first}", proto)
        for second in TARGETS:
            again = _converted(made, second) if first != "onnx" else None
            if first != "onnx":
                yield f"{first} → {second}", "refused" if again is None else "same"
            if again is not None:
                fed = {spec.name: array for spec, array in zip(again.inputs, _fed(made, feeds), strict=True)}
                _check(again, fed, expected, f"onnx → {first} → {second}", proto)


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


def _check(
    model: wb.Model, feeds: dict[str, Array], expected: dict[str, Array], route: str, proto: onnx.ModelProto
) -> None:
    try:
        results = list(model.run(feeds).values())
    except wb.WorkbenchError as error:
        raise Mismatch(f"{route}: cannot be run: {error}\n{_text(proto)}") from error
    for found, (name, wanted) in zip(results, expected.items(), strict=True):
        where = f"{route}: the output {name}"
        kinds = wanted.dtype.kind + ("fi" if wanted.dtype.kind == "b" else "")  # Core ML hands out 0 and 1 for booleans
        if found.dtype.kind not in kinds:
            raise Mismatch(f"{where} is {found.dtype}, not {wanted.dtype}\n{_text(proto)}")
        if found.size != wanted.size or (found.shape != wanted.shape and wanted.ndim > 0):
            raise Mismatch(f"{where} is of shape {found.shape}, not {wanted.shape}\n{_text(proto)}")
        difference = np.abs(found.astype(np.float64) - wanted.reshape(found.shape).astype(np.float64)).max(initial=0)
        if not difference <= TOLERANCE * max(np.abs(wanted.astype(np.float64)).max(initial=0), 1):
            raise Mismatch(f"{where} differs by {difference}\n{_text(proto)}")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--all", action="store_true", help="list all failures as they come, without making them smaller"
    )
    chosen = parser.parse_args()
    failures: list[str] | None = [] if chosen.all else None
    try:
        counts = run(chosen.count, chosen.seed, failures)
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
