"""From the detail of a comparison to what the tensor view draws: counts and texts, never raw tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.widgets.content import Block, facts, table, text
from workbench.widgets.text import number

if TYPE_CHECKING:
    from workbench.compare import Detail, Metrics, Report, Row, Signature
    from workbench.compare.detail import Channels, Plane


def about(found: Row) -> list[Block]:
    """Which tensor a row is, and the verdict on it."""
    shape = "?" if found.shape is None else ", ".join(map(str, found.shape))
    known = f"{found.tensor} → {found.target_tensor}" if found.target_tensor else found.tensor
    tone = {"ok": "ok", "failing": "bad"}.get(found.status, "neutral")
    return [
        facts(
            ("layer", f"{found.operator} {found.layer}"),
            ("tensor", f"{known}: {found.dtype}[{shape}]"),
            ("converted by", ", ".join(found.target_layers) or "—"),
            *([] if found.signature is None else signature_of(found.signature)),
        ),
        text(f"{found.status}: {found.remark}" if found.remark else found.status, tone),
    ]


def signature_of(signature: Signature) -> list[tuple[str, str]]:
    """What an error looks like, what speaks for it, and what to check."""
    return [
        ("looks like", f"{signature.kind}: {signature.text}"),
        *([("evidence", "\n".join(signature.evidence))] if signature.evidence else []),
        ("check", signature.check),
    ]


def explained(report: Report, found: Row) -> Row:
    """A row that makes an error, with its signature; any other as it is."""
    from workbench.compare.diagnose import with_signature

    if found.status != "failing" or found.blame == "inherited" or found.signature is not None or report.source is None:
        return found
    return with_signature(found, report.source)


def errors_of(found: Row) -> Block | None:
    """What was measured on a row, both modes side by side."""
    modes = [("accumulated", found.accumulated), ("isolated", found.isolated)]
    measured = [(name, metrics) for name, metrics in modes if metrics is not None]
    if not measured:
        return None
    found_by_mode = [dict(_measures(metrics)) for _, metrics in measured]
    labels = dict.fromkeys(label for values in found_by_mode for label in values)
    rows = [(label, *(values.get(label, "—") for values in found_by_mode)) for label in labels]
    if found.noise is not None:
        floors = {"accumulated": found.noise.accumulated, "isolated": found.noise.isolated}
        above = {"accumulated": found.db_above_noise, "isolated": found.isolated_db_above_noise}
        rows.append(("float16 explains", *(number(floors[name]) for name, _ in measured)))
        rows.append(("above that", *(_decibels(above[name]) for name, _ in measured)))
    return table("Errors", ["", *(name for name, _ in measured)], rows)


def _decibels(value: float | None) -> str:
    return "—" if value is None else f"{value:+.1f} dB"


def _measures(metrics: Metrics) -> list[tuple[str, str]]:
    rows = [
        ("largest difference", number(metrics.max_abs)),
        ("at index", str(list(metrics.max_abs_index)) if metrics.max_abs_index else "—"),
        ("relative L2", number(metrics.relative_l2)),
        ("largest relative", number(metrics.max_relative)),
        ("SQNR", f"{number(metrics.sqnr_db)} dB"),
        ("cosine", f"{metrics.cosine:.9g}"),
        ("gain", f"{metrics.gain:.9g}"),
        ("NaN, infinities", f"{sum(metrics.nan)}, {sum(metrics.inf)}"),
    ]
    if metrics.mismatches is not None:
        rows.append(("unequal elements", f"{metrics.mismatches:,} of {metrics.size:,}"))
    if metrics.top1 is not None:
        rows.append(("top-1 agreement", f"{metrics.top1:.1%}"))
    if metrics.top5 is not None:
        rows.append(("top-5 agreement", f"{metrics.top5:.1%}"))
    return rows


def tensors_of(report: Report, found: Row) -> tuple[dict[str, Any], list[Block]]:
    """Figures and tables of a row's two tensors, which are computed anew.

    Raises:
        WorkbenchError: the row has no counterpart, or the report has no models.
    """
    from workbench.compare import summarize

    mode = "isolated" if found.accumulated is None else "accumulated"
    reference, target = report.tensors(found, mode=mode)
    if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
        return {}, [text(f"{reference.dtype.name}: there are no numbers to draw.", "neutral")]
    detail = summarize(reference, target, title=found.layer, mode=mode)
    return figures_of(detail), [values_of(detail), worst_of(detail)]


def figures_of(detail: Detail) -> dict[str, Any]:
    """What :class:`workbench.widgets.tensor_view.TensorView` draws."""
    from workbench.compare.detail import PIXELS, coarser

    edges, gap = detail.edges, detail.difference_edges
    figures: dict[str, Any] = {
        "distributions": {
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "reference": detail.reference_counts.tolist(),
            "target": detail.target_counts.tolist(),
        }
    }
    cells = coarser(detail.density, PIXELS, np.add)
    figures["density"] = {
        "low": float(detail.density_edges[0]),
        "high": float(detail.density_edges[-1]),
        "size": len(cells),
        "counts": cells[::-1].reshape(-1).tolist(),  # drawn from the top, where the target's values are largest
    }
    if not detail.worst:
        return figures  # nothing differs: a picture of the difference would show nothing
    figures["difference"] = {
        "low": float(gap[0]),
        "high": float(gap[-1]),
        "counts": detail.difference_counts.tolist(),
        "note": "",
    }
    if detail.plane is not None:
        figures["heatmap"] = heatmap(detail.plane)
    if detail.channels is not None and detail.channels.total > 1:
        figures["channels"] = boxes(detail.channels)
    return figures


def heatmap(plane: Plane) -> dict[str, Any]:
    """The picture of where the tensors differ."""
    rows = f"rows: axis {plane.axes[0]}, columns: axis {plane.axes[1]}" if len(plane.axes) > 1 else "along the tensor"
    return {
        "rows": plane.cells.shape[0],
        "columns": plane.cells.shape[1],
        "values": [float(f"{value:.3g}") for value in plane.cells.reshape(-1)],
        "most": float(plane.cells.max()),
        "note": f"{rows}; largest over the others" if plane.reduced else rows,
    }


def boxes(channels: Channels) -> dict[str, Any]:
    """A box for each channel's difference."""
    shown = len(channels.indices)
    every = f"axis {channels.axis}"
    return {
        "indices": channels.indices.tolist(),
        "quartiles": [[float(f"{value:.3g}") for value in box] for box in channels.quartiles],
        "note": every if shown == channels.total else f"{every}; the {shown} of {channels.total:,} that differ most",
    }


def worst_of(detail: Detail) -> Block:
    """The elements that differ most, with their indices; and the statistics of both arrays."""
    if not detail.worst:
        return text("All elements are equal.", "ok")
    rows = [
        (list(element.index), number(element.reference), number(element.target), number(element.difference))
        for element in detail.worst
    ]
    return table("Elements that differ most", ("index", "reference", "converted", "difference"), rows)


def values_of(detail: Detail) -> Block:
    """Minimum, maximum, mean and deviation of both arrays and of their difference."""
    columns = ("", "reference", "converted", "difference")
    names = ("minimum", "maximum", "mean", "deviation", "nan", "inf")
    rows = [(name, *(number(getattr(found, name)) for found in detail.statistics)) for name in names]
    return table("Values", columns, rows)
