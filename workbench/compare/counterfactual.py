"""What if some layers were right: they are computed as by the reference, and the outputs looked at again.

An error that is made early and an error that matters are two things. Computing a layer of the target as the reference
does tells what that layer's error does to the outputs; the smallest set of layers whose correction makes all outputs ok
is where to work, and for a float16 model the layers to keep in float32.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from workbench.compare.hybrid import Splicer
from workbench.compare.metrics import Metrics, measure
from workbench.compare.recompute import Source, types_of
from workbench.compare.rows import Row
from workbench.compare.side import Walk, fragment, maker_of, run_fragment
from workbench.compare.smallest import smallest
from workbench.compare.tolerance import judge, power_of_ten
from workbench.errors import OptionError, WorkbenchError
from workbench.hub import layers_of
from workbench.hub.half import as_half_bounds
from workbench.words import one_line

Array = np.ndarray[Any, Any]
Chosen = str | int | Row


@dataclass(frozen=True)
class Outcome:
    """One output, before and after.

    Attributes:
        tensor: its name in the reference.
        before: the difference as it is; ``after`` with the layers corrected.
        reason: why it is not ok afterwards; ``""`` if it is.
    """

    tensor: str
    before: Metrics
    after: Metrics
    reason: str

    def __str__(self) -> str:
        text = f"{self.tensor!r}: relative L2 {power_of_ten(self.before.relative_l2)} → "
        return text + power_of_ten(self.after.relative_l2) + (f", {self.reason}" if self.reason else ", ok")


@dataclass(frozen=True)
class Counterfactual:
    """The outputs with some layers corrected; true if all of them are ok.

    Attributes:
        layers: the reference's layers that were corrected.
        outputs: of the reference, as far as they have a counterpart.
        how: what "corrected" means here, for people.
    """

    layers: tuple[str, ...]
    outputs: tuple[Outcome, ...]
    how: str

    @property
    def ok(self) -> bool:
        """Whether every output is within its tolerance."""
        return bool(self.outputs) and not any(outcome.reason for outcome in self.outputs)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"Counterfactual({len(self.layers)} layers, {'ok' if self.ok else 'not ok'})"

    def __str__(self) -> str:
        shown = ", ".join(self.layers[:8]) + (" …" if len(self.layers) > 8 else "")
        lines = [f"{shown or 'no layer'} {self.how}:", *(f"  output {outcome}" for outcome in self.outputs)]
        return "\n".join(map(one_line, lines))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


class Corrector:
    """Runs the target with tensors of the reference in place of its own, on the report's first sample.

    Args:
        source: the two models.
        rows: of the report.

    Raises:
        WorkbenchError: no output of the reference has a counterpart.
    """

    def __init__(self, source: Source, rows: Sequence[Row]) -> None:
        source.require_layers("correcting a layer", reference=False)
        self.source, self.rows = source, rows
        self.outputs = [row for row in rows if row.output and row.target_tensor]
        if not self.outputs:
            raise WorkbenchError(
                "no output of the reference has a counterpart in the target, so none can be looked at."
            )
        names = {row.target_tensor for row in self.outputs}
        self.walk = Walk(source.target.graph, names, f"{source.target.format} model {source.target.name!r}")
        self.splicer = Splicer(source)
        self.expected = source.run_reference([row.tensor for row in self.outputs])
        self.before = self._measured(source.run_target(names))

    def rows_of(self, layers: Iterable[Chosen]) -> list[Row]:
        """The rows of layers (by name), of tensors, or the rows themselves (also by index).

        Raises:
            OptionError: there is no such layer, or it has no counterpart.
        """
        found: dict[int, Row] = {}
        for layer in layers:
            for row in self._rows_named(layer):
                found[row.index] = row
        return [found[index] for index in sorted(found)]

    def _rows_named(self, layer: Chosen) -> list[Row]:
        if isinstance(layer, int) and not -len(self.rows) <= layer < len(self.rows):
            raise OptionError(f"there is no row {layer}; the report has {len(self.rows)}.")
        if isinstance(layer, int | Row):
            rows = [self.rows[layer] if isinstance(layer, int) else layer]
        else:
            rows = [row for row in self.rows if layer in row.layers or layer == row.tensor]
        if not rows:
            known = [name for row in self.rows for name in row.layers]
            near = difflib.get_close_matches(str(layer), known, n=1)
            raise OptionError(
                f"the reference has no layer {layer!r}." + (f" Did you mean {near[0]!r}?" if near else "")
            )
        usable = [row for row in rows if row.target_tensor]
        if not usable:
            raise OptionError(f"the layer {layer!r} has no counterpart in the target: {rows[0].reason}.")
        return usable

    def feed(self, rows: Sequence[Row]) -> Counterfactual:
        """The outputs where what reads the tensors of these rows is fed the reference's."""
        given = self.source.in_place(self.walk.values, [row.target_tensor for row in rows])
        return self._outcome(_layers(rows), self._run(self.walk, given), "read as the reference has it")

    def correct(self, rows: Sequence[Row]) -> Counterfactual:
        """The outputs where the reference's layers compute the tensors of these rows, from what the target has."""
        self.source.require_layers("computing as the reference does (fed=True does without)")
        hybrid = self.splicer.splice([row.target_tensor for row in rows])
        walk = Walk(hybrid.graph, [row.target_tensor for row in self.outputs], "the target with corrected layers")
        fed = {own: self.source.feeds.reference[name] for own, name in hybrid.inputs.items()}
        return self._outcome(self.together(rows), self._run(walk, fed), "computed as by the reference")

    def together(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The layers of rows, and those above them that have no row of their own and are corrected with them."""
        found = dict.fromkeys(_layers(rows))
        for row in rows:
            nodes, _ = self.splicer.walk.region(row.tensor, self.splicer.references)
            found.update(dict.fromkeys(name for node in nodes for name in layers_of(node)))
        return tuple(found)

    def _run(self, walk: Walk, given: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the target, or of a graph made of it; tensors that are given are not computed."""
        wanted = [row.target_tensor for row in self.outputs]
        fed = {**self.source.feeds.target, **given}
        computed = [name for name in wanted if name not in fed and maker_of(walk.values[name]) is not None]
        found = {name: fed[name] for name in wanted if name in fed}
        if computed:
            runner = fragment(walk, walk.nodes, computed, self.source.threads, cut=set(given), inputs=types_of(given))
            feeds = {name: fed[name] for name in runner.inputs}
            found.update(run_fragment(walk, walk.nodes, runner, feeds))
        constants = [name for name in wanted if name not in found]
        return {**found, **self.source.run_target(constants)}

    def _measured(self, tensors: Mapping[str, Array]) -> dict[str, Metrics]:
        found = {}
        for row in self.outputs:
            x, y = self.source.side_by_side(row.target_tensor, self.expected[row.tensor], tensors[row.target_tensor])
            found[row.tensor] = measure(as_half_bounds(x, y), y)
        return found

    def _outcome(self, layers: tuple[str, ...], tensors: Mapping[str, Array], how: str) -> Counterfactual:
        after = self._measured(tensors)
        return Counterfactual(layers, tuple(self._judged(row, after[row.tensor]) for row in self.outputs), how)

    def _judged(self, row: Row, after: Metrics) -> Outcome:
        """An output's outcome, by the tolerance of its accumulated error."""
        allowance = row.allowance
        reason = "" if allowance is None else judge(after, allowance.accumulated, allowance.accumulated_floor)
        return Outcome(row.tensor, self.before[row.tensor], after, reason)

    def smallest(self, ranking: Sequence[Row]) -> Counterfactual:
        """The smallest set of rows that was found whose correction makes all outputs ok.

        Args:
            ranking: the rows, those first that are the likeliest to be needed.

        Returns:
            A result that is not ok if not even all of them do.
        """
        usable = [row for row in ranking if row.target_tensor]
        return smallest(sorted(usable, key=lambda row: row.index), usable, self.correct)


def _layers(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row.layers or (row.tensor,)))
