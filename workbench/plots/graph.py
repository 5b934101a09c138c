"""The graphs of two models side by side, each layer in the colour of its error."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.compare.heat import heat, rows_of_layers
from workbench.errors import OptionError
from workbench.plots.affixes import Affixes
from workbench.plots.layered import Edge, Layout, Point, layered
from workbench.plots.theme import Theme, blend, new_figure, theme_named
from workbench.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.compare.report import Report
    from workbench.compare.rows import Row
    from workbench.document import Layer
    from workbench.model import Model

LAYERS = 40
"""Of a larger model, so many layers around one are drawn."""
_INCHES = 1.62, 0.66
"""Of a layer's place: width and height."""
_WIDEST = 18.0
_BOX = 0.92, 0.58
_LETTERS = 21


@dataclass(frozen=True)
class _Part:
    """The layers of one model that are drawn."""

    layers: Sequence[Layer]
    edges: Sequence[Edge]
    total: int
    cut: tuple[frozenset[int], frozenset[int]]
    """Places of the layers that read others, and are read by others, that are not drawn."""


def graph(report: Report, row: Row | None = None, *, layers: int | None = LAYERS, theme: str = "light") -> Figure:
    """Both models from top to bottom: reference at the left, target at the right.

    Args:
        row: what to draw the layers around, framed in both; of a model with few enough layers all are drawn.
            ``None`` takes the first culprit, or the worst row.
        layers: so many at most of each model; ``None`` for all, however many there are.

    Raises:
        OptionError: less than one layer.
        WorkbenchError: the report has no models.
    """
    if layers is not None and layers < 1:
        raise OptionError(f"layers={layers}: at least one layer has to be drawn; None draws all.")
    colours = theme_named(theme)
    source = report.require_models("draw their graphs")
    chosen = row if row is not None else report.first_bad or next(iter(report.worst(1)), None)
    parts = _parts(report.rows, source.reference, source.target, chosen, layers)
    drawn = [layered(len(part.layers), part.edges) for part in parts]
    spans = [_span(layout) for layout in drawn]
    width, height = sum(high - low for low, high in spans) * _INCHES[0], max(layout.rows for layout in drawn)
    scale = min(1.0, _WIDEST / width)
    figure, axes = new_figure(
        colours, max(width * scale, 4.5), height * _INCHES[1] * scale + 1.1, [high - low for low, high in spans]
    )
    marks = ((), ()) if chosen is None else (chosen.layers, chosen.target_layers)
    for side, (axis, part, layout) in enumerate(zip(axes, parts, drawn, strict=True)):
        found = {name: report.rows[at] for name, at in rows_of_layers(report.rows, side).items()}
        own = Affixes.of([layer.name for layer in part.layers])
        axis.set_axis_off()
        axis.set_xlim(spans[side])
        axis.set_ylim(height - 0.4, -0.6)
        _draw_edges(axis, part, layout, colours)
        for layer, place in zip(part.layers, layout.nodes, strict=True):
            _draw_layer(axis, layer, place, found.get(layer.name), layer.name in marks[side], colours, scale, own)
        model = (report.reference, report.target)[side]
        some = "" if len(part.layers) == part.total else f"\n{len(part.layers)} of {part.total} layers"
        axis.set_title(
            f"{shorten(model.name, 30)} ({model.format}){some}".replace("$", r"\$"), color=colours.text, fontsize=10
        )
    _legend(figure, colours)
    return figure


def _parts(
    rows: Sequence[Row], reference: Model, target: Model, chosen: Row | None, limit: int | None
) -> tuple[_Part, _Part]:
    """What is drawn of both: around the row in the reference, and what stands for that in the target."""
    own, other = reference.layers, target.layers
    if limit is None or max(len(own), len(other)) <= limit:
        return _part(own, range(len(own))), _part(other, range(len(other)))
    places = [{layer.name: place for place, layer in enumerate(layers)} for layers in (own, other)]
    edges = [_edges(layers) for layers in (own, other)]
    names = ((), ()) if chosen is None else (chosen.layers, chosen.target_layers)
    starts = [[places[side][name] for name in names[side] if name in places[side]] for side in (0, 1)]
    kept = _around(edges[0], starts[0] or [0], limit, len(own))
    shown = {own[place].name for place in kept}
    stand = {
        places[1][name]
        for row in rows
        if shown.intersection(row.layers)
        for name in row.target_layers
        if name in places[1]
    }
    start = starts[1] or sorted(stand) or [0]
    near = _around(edges[1], start, limit, len(other), inside=_between(edges[1], stand | set(start), len(other)))
    return _part(own, kept), _part(other, near)


def _part(layers: Sequence[Layer], places: Iterable[int]) -> _Part:
    kept = sorted(places)
    new = {place: number for number, place in enumerate(kept)}
    edges = _edges(layers)
    inner = [(new[start], new[end]) for start, end in edges if start in new and end in new]
    reads = frozenset(new[end] for start, end in edges if start not in new and end in new)
    read = frozenset(new[start] for start, end in edges if start in new and end not in new)
    return _Part([layers[place] for place in kept], inner, len(layers), (reads, read))


def _edges(layers: Sequence[Layer]) -> list[Edge]:
    """From the layer that makes a tensor to each that reads it."""
    makers = {spec.name: place for place, layer in enumerate(layers) for spec in layer.outputs}
    found = {
        (makers[name], place): None
        for place, layer in enumerate(layers)
        for name in layer.inputs
        if makers.get(name, place) != place
    }
    return list(found)


def _around(
    edges: Sequence[Edge], start: Sequence[int], limit: int, count: int, inside: set[int] | None = None
) -> list[int]:
    """The nearest nodes to some, these first, however the edges are directed."""
    joined = _joined(edges, count)
    found = dict.fromkeys(start[:limit])
    pending = deque(found)
    while pending and len(found) < limit:
        for node in joined[pending.popleft()]:
            if node not in found and (inside is None or node in inside) and len(found) < limit:
                found[node] = None
                pending.append(node)
    return list(found)


def _joined(edges: Sequence[Edge], count: int) -> list[list[int]]:
    joined: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        joined[start].append(end)
        joined[end].append(start)
    return joined


def _between(edges: Sequence[Edge], nodes: set[int], count: int) -> set[int]:
    """These nodes and all on a way from one of them to another."""
    readers: list[list[int]] = [[] for _ in range(count)]
    read: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        readers[start].append(end)
        read[end].append(start)
    return _reached(readers, nodes) & _reached(read, nodes)


def _reached(joined: Sequence[Sequence[int]], nodes: set[int]) -> set[int]:
    found, pending = set(nodes), list(nodes)
    while pending:
        fresh = [node for node in joined[pending.pop()] if node not in found]
        found.update(fresh)
        pending += fresh
    return found


def _span(layout: Layout) -> tuple[float, float]:
    every = [x for x, _ in layout.nodes] + [x for route in layout.routes for x, _ in route] or [0.0]
    return min(every) - 0.58, max(every) + 0.58


def _draw_edges(axis: Axes, part: _Part, layout: Layout, colours: Theme) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    half = _BOX[1] / 2
    for route in layout.routes:
        (x, y), (to_x, to_y) = route[0], route[-1]
        points: list[Point] = [(x, y + half), *route[1:-1], (to_x, to_y - half - 0.02)]
        vertices, codes = [points[0]], [int(Path.MOVETO)]
        for (left, top), (right, bottom) in itertools.pairwise(points):
            middle = (top + bottom) / 2
            vertices += [(left, middle), (right, middle), (right, bottom)]
            codes += [int(Path.CURVE4)] * 3
        axis.add_patch(
            FancyArrowPatch(
                path=Path(vertices, codes), arrowstyle="-|>,head_length=3,head_width=1.6", color=colours.faint, lw=0.9
            )
        )
    for places, way in ((part.cut[0], -1), (part.cut[1], 1)):
        for place in places:
            x, y = layout.nodes[place]
            axis.plot([x, x], [y + way * half, y + way * (half + 0.17)], color=colours.faint, lw=1.1, ls=(0, (1, 1.2)))


def _draw_layer(
    axis: Axes, layer: Layer, place: Point, row: Row | None, marked: bool, colours: Theme, scale: float, own: Affixes
) -> None:
    from matplotlib.patches import FancyBboxPatch

    tone, share = _tone(row, colours)
    x, y = place
    axis.add_patch(
        FancyBboxPatch(
            (x - _BOX[0] / 2, y - _BOX[1] / 2), *_BOX, boxstyle="round,pad=0,rounding_size=0.06",
            mutation_aspect=_INCHES[0] / _INCHES[1], facecolor=blend(tone, colours.background, share), zorder=3,
            edgecolor=colours.text if marked else tone, linewidth=2.2 if marked else 0.9,
        )
    )  # fmt: skip
    for text, up, size, weight in ((layer.operator, -0.1, 7.6, "bold"), (own.without(layer.name), 0.13, 6.8, "normal")):
        axis.text(
            x, y + up, shorten(text, _LETTERS).replace("$", r"\$"), ha="center", va="center", color=colours.text,
            fontsize=size * scale, fontweight=weight, zorder=4,
        )  # fmt: skip


def _tone(row: Row | None, colours: Theme) -> tuple[str, float]:
    """The colour of a layer, and how much of it: the nearer to its tolerance the more."""
    if row is None or row.status in ("unmatched", "skipped"):
        return colours.faint, 0.12
    if row.status == "failing":
        return (colours.inherited, 0.35) if row.blame == "inherited" else (colours.own, 0.55)
    return colours.reference, 0.06 + 0.4 * min(max(heat(row), 0.0), 1.0)


def _legend(figure: Figure, colours: Theme) -> None:
    from matplotlib.patches import Patch

    kinds: Mapping[str, tuple[str, float]] = {
        "makes an error": (colours.own, 0.55),
        "inherits one": (colours.inherited, 0.35),
        "within tolerance, near": (colours.reference, 0.46),
        "far within": (colours.reference, 0.06),
        "not compared": (colours.faint, 0.12),
    }
    patches = [
        Patch(facecolor=blend(tone, colours.background, share), edgecolor=tone, label=name)
        for name, (tone, share) in kinds.items()
    ]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=3, frameon=False, labelcolor=colours.text, fontsize=8
    )
