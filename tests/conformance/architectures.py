"""Well-known architectures through Core ML, layer by layer: ``python -m tests.conformance.architectures [NAME …]``.

Those of ``tests/architectures.py``, in small, and where timm and transformers are installed those of
``tests/published.py``, with random weights, exported by both of PyTorch's exporters. In float32 every layer has to be
within 1e-4 of onnxruntime; in float16, within what the rounding of float16 explains.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench as wb
from tests.architectures import ARCHITECTURES, small
from tests.published import PUBLISHED, missing, published
from tests.test_architectures import export

PAGE = Path(__file__).parents[2] / "docs" / "conformance-architectures.md"
BOUND = 1e-4
ABOVE = 10.0
"""How far, in dB, an error may be above what emulated float16 makes: roundings at other places add up otherwise."""
EXPORTERS = {"legacy": False, "dynamo": True}
SMALL, WHOLE = "In small", "As published"
MAKERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(ARCHITECTURES, small),
    **({} if missing() else dict.fromkeys(PUBLISHED, published)),
}


@dataclass(frozen=True)
class Result:
    """One architecture by one exporter in one precision.

    Attributes:
        layers: how many layers were compared.
        error: the largest relative error (L2) of a layer; ``worst`` is that layer.
        above: how far a layer is above what float16 explains at the most, in dB; ``None`` in float32.
        cause: why it is not right; empty if it is.
    """

    name: str
    exporter: str
    precision: str
    layers: int = 0
    error: float = 0.0
    worst: str = ""
    above: float | None = None
    cause: str = ""


def check(name: str, exporter: str, precision: str, source: Path, feeds: dict[str, object]) -> Result:
    """Convert, write, read again, compare."""
    model = wb.load(source)
    try:
        made = model.convert("coreml", precision=precision)
    except wb.ConversionError as error:
        return Result(name, exporter, precision, cause=f"refused: {error}")
    converted = wb.load(made.save(source.parent / f"{precision}.mlpackage"))
    report = wb.compare(model, converted, feeds=feeds, mode="accumulated", threads=1)
    rows = [(row, row.accumulated) for row in report.rows if row.accumulated is not None]
    worst, metrics = max(rows, key=lambda pair: pair[1].error)
    above = [row.db_above_noise for row, _ in rows if row.db_above_noise is not None]
    failing = [row.layer for row, found in rows if row.status != "ok" or (precision == "fp32" and found.error > BOUND)]
    failing += [row.layer for row in report.outputs if row.status != "ok"]
    failing += [row.layer for row, _ in rows if row.db_above_noise is not None and row.db_above_noise > ABOVE]
    failing = list(dict.fromkeys(failing))
    cause = f"{len(failing)} layers differ: {', '.join(failing[:3])}" if failing else ""
    return Result(
        name, exporter, precision, len(rows), metrics.error, worst.layer, max(above) if above else None, cause
    )


def results(names: Sequence[str], exporters: Sequence[str]) -> Iterator[Result]:
    """Everything, in the order of the page."""
    for name in names:
        for exporter in exporters:
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                source = Path(folder) / "source.onnx"
                with contextlib.redirect_stdout(io.StringIO()):  # the newer exporter says what it does
                    feeds = export(name, source, EXPORTERS[exporter], MAKERS[name])
                for precision in ("fp32", "fp16"):
                    yield check(name, exporter, precision, source, feeds)


def line(found: Result) -> str:
    """A row of the table."""
    above = "" if found.above is None else f"{found.above:+.0f} dB"
    verdict = found.cause or "right"
    head = f"| {found.name} | {found.exporter} | {found.precision}"
    return f"{head} | {found.layers} | {found.error:.1e} | {above} | {verdict} |"


def page(found: Sequence[Result]) -> str:
    """The page of the documentation."""
    right = sum(not result.cause for result in found)
    head = [
        "# Architectures through Core ML",
        "",
        "Written by `python -m tests.conformance.architectures`; do not edit. The architectures of",
        "`tests/architectures.py`, in small, and of `tests/published.py`, as timm and transformers publish them, are",
        "exported with random weights by PyTorch's two exporters, converted with `convert('coreml', precision=…)`,",
        "written, read again, and compared with onnxruntime layer by layer. In float32 a layer is right within a",
        f"relative error (L2) of {BOUND:g}; in float16, within {ABOVE:g} dB of what rounding each result to float16",
        "makes, which is emulated. The error is that of the worst layer, what came into it included; the last but one",
        "column says how far a layer is above the emulated error at the most.",
        "",
        f"**{right} of {len(found)} are right.**",
    ]
    lines = list(head)
    for title, names in ((SMALL, ARCHITECTURES.keys()), (WHOLE, PUBLISHED.keys())):
        lines += [
            "",
            f"## {title}",
            "",
            "| architecture | exporter | precision | layers compared | largest error | above float16 | |",
            "|---|---|---|--:|--:|--:|---|",
            *(line(result) for result in found if result.name in names),
        ]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MAKERS)}; none is all")
    chosen = parser.parse_args()
    exporters = list(EXPORTERS)
    if importlib.util.find_spec("onnxscript") is None:
        print("the newer exporter needs onnxscript, which is not installed: left out")
        exporters.remove("dynamo")
    if missing():
        print(f"those that are published need {', '.join(missing())}, which is not installed: left out")
    found = []
    for result in results(chosen.names or list(MAKERS), exporters):
        found.append(result)
        print(line(result), flush=True)
    if not chosen.names and not missing() and len(exporters) == len(EXPORTERS):
        PAGE.write_text(page(found), encoding="utf-8")
    return 1 if any(result.cause for result in found) else 0


if __name__ == "__main__":
    sys.exit(main())
