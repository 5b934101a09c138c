"""What the page shows of a selected row: its facts, and its tensors as far as they were computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.detail import Detail, Statistics, summarize
from workbench.compare.metrics import Metrics
from workbench.compare.page.words import TITLE, number, status, title
from workbench.compare.rows import Row
from workbench.errors import WorkbenchError
from workbench.words import one_line, shorten

if TYPE_CHECKING:
    from workbench.compare.report import Report

_DENSITY = 64
"""Cells of a scatter in the page, along each axis."""


def facts(row: Row) -> list[list[Any]]:
    """What the detail view says of a row: (what, accumulated or in words, isolated)."""
    facts: list[list[Any]] = [
        ["title", title(row)],
        ["status", status(row)],
        ["reason", row.remark],
        ["layer", row.layer if shorten(row.layer, TITLE) != row.layer else ""],
        ["reference", f"{row.tensor}: {row.dtype}{list(row.shape) if row.shape is not None else ''}"],
        ["target", " ← ".join(filter(None, (row.target_tensor, ", ".join(row.target_layers)))) or "none"],
        ["matched by", row.evidence + (f" (as much like {', '.join(row.rivals)})" if row.rivals else "")],
    ]
    if row.signature is not None:
        facts.append(["looks like", f"{row.signature} ({'; '.join(row.signature.evidence)})"])
    facts = [[name, one_line(text)] for name, text in facts if text]
    pair = row.accumulated, row.isolated
    if any(pair):
        facts += _figures(pair, row)
    return facts


def _figures(pair: tuple[Metrics | None, Metrics | None], row: Row) -> list[list[Any]]:
    def both(name: str, form: str) -> list[Any]:
        values = (None if item is None else getattr(item, name) for item in pair)
        return ["" if value is None else number(float(value), form) for value in values]

    bounds = () if row.allowance is None else (row.allowance.accumulated, row.allowance.isolated)
    found = [
        ["", "accumulated", "isolated"],
        ["relative L2", *both("relative_l2", "{:.3e}")],
        ["tolerance", *(map(number, bounds) if bounds else ("", ""))],
        ["SQNR, dB", *both("sqnr_db", "{:.1f}")],
        ["max |d|", *both("max_abs", "{:.3e}")],
        ["at", *("" if item is None else str(list(item.max_abs_index)) for item in pair)],
        ["cosine", *both("cosine", "{:.9f}")],
        ["gain", *both("gain", "{:.6f}")],
        ["NaN", *("" if item is None else f"{item.nan[0]} → {item.nan[1]}" for item in pair)],
        ["infinities", *("" if item is None else f"{item.inf[0]} → {item.inf[1]}" for item in pair)],
    ]
    if row.noise is not None:
        noise = (row.noise.accumulated, row.noise.isolated)
        found.insert(3, ["explained by precision", *("" if item is None else number(item) for item in noise)])
    if any(item is not None and item.mismatches is not None for item in pair):
        found.append(["elements that differ", *both("mismatches", "{:.0f}")])
    if any(item is not None and item.top1 is not None for item in pair):
        found.append(["top-1 agreement", *both("top1", "{:.1%}")])
    return found


def details_of(report: Report, count: int) -> Mapping[str, Any]:
    """The tensors of the outputs and the worst rows, summarised; those that cannot be computed are left out."""
    if report.source is None or count < 1:
        return {}
    ranked = (*report.outputs, *report.worst(count))
    chosen = {row.index: row for row in ranked if row.target_tensor and row.dtype != "string"}
    rows = tuple(chosen.values())[:count]
    own = [row for row in rows if row.blame == "own" and report.mode != "accumulated"]
    others = [row for row in rows if row not in own]
    source, found = report.source, {}
    x, y = (
        source.run_reference([row.tensor for row in others]),
        source.run_target([row.target_tensor for row in others]),
    )
    for row in rows:
        try:
            if row in own:
                found[str(row.index)] = _summarised(report.detail(row, mode="isolated"))
            else:
                pair = source.side_by_side(row.target_tensor, x[row.tensor], y[row.target_tensor])
                found[str(row.index)] = _summarised(summarize(*pair, title=row.layer))
        except WorkbenchError:  # another shape, or a layer that cannot be fed: there are no pairs of elements
            continue
    return found


def _summarised(detail: Detail) -> dict[str, Any]:
    return {
        "mode": detail.mode,
        "edges": [float(detail.edges[0]), float(detail.edges[-1])],
        "reference": detail.reference_counts.tolist(),
        "target": detail.target_counts.tolist(),
        "differenceEdges": [float(detail.difference_edges[0]), float(detail.difference_edges[-1])],
        "difference": detail.difference_counts.tolist(),
        "densityEdges": [float(detail.density_edges[0]), float(detail.density_edges[-1])],
        "density": _coarse(detail.density).tolist(),
        "statistics": [_statistics(item) for item in detail.statistics],
        "worst": [
            [str(list(item.index)), *(number(value, "{:.6g}") for value in (item.reference, item.target))]
            for item in detail.worst
        ],
    }


def _coarse(density: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Counts in at most 64 × 64 cells."""
    size = density.shape[0]
    bounds = np.linspace(0, size, min(size, _DENSITY) + 1).astype(np.int64)[:-1]
    found: np.ndarray[Any, Any] = np.add.reduceat(np.add.reduceat(density, bounds, axis=0), bounds, axis=1)
    return found


def _statistics(item: Statistics) -> list[str]:
    numbers = [number(value, "{:.4g}") for value in (item.minimum, item.maximum, item.mean, item.deviation)]
    return [*numbers, str(item.nan), str(item.inf)]
