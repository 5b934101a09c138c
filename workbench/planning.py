"""What a plan says: a row for each layer, and why an input's sizes do not fit a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workbench.document import Document, Layer, TensorSpec
from workbench.errors import Refusal
from workbench.formats import Format
from workbench.hub import Flexible, ShapeOption, fixed_dims
from workbench.lowering import Outcome, worst
from workbench.plan import PlanRow, Verdict


def with_shape(spec: TensorSpec, shape: ShapeOption | None, flexible: Flexible | None) -> TensorSpec:
    """An input with the sizes that the option ``shapes`` gives it."""
    return spec if shape is None else replace(spec, shape=fixed_dims(shape, flexible))


def inflexible(wanted: Format, flexible: Mapping[str, Flexible]) -> str:
    """Why a format takes no ranges, and what to do."""
    name, shapes = next(iter(flexible.items()))
    fixed = f"fix it, shapes={{{name!r}: {shapes.default}}}"
    if wanted.static_shapes:
        return f"shapes: a model in {wanted.title} has one shape for each input, not several for {name!r}; {fixed}."
    return (
        f"shapes: a model in {wanted.title} has sizes that are fixed or open, without a range; leave {name!r} out of "
        f"shapes to keep it open, or {fixed}."
    )


def lost_starts(source: Document, made: Document) -> list[str]:
    """The states of a source that begin with numbers, and are mere inputs of what it was converted to."""
    record = made.provenance
    fed = {} if record is None else {spec.name: own for own, spec in record.inputs.items()}
    inputs = [name for name in source.states if name in fed and fed[name] not in made.states]
    return [name for name in inputs if source.start(name) is not None]


def planned_rows(layers: Sequence[Layer], outcomes: Sequence[Outcome], folded: Sequence[str]) -> list[PlanRow]:
    """One row for each source layer, from the outcomes of the hub nodes that stand for it."""
    by_layer: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for name in outcome.layers:
            by_layer.setdefault(name, []).append(outcome)
    constants = set(folded)
    rows = []
    for layer in layers:
        if layer.name in by_layer:
            found = worst(by_layer.pop(layer.name))
            rows.append(PlanRow(layer.name, layer.operator, found.verdict, found.note, found.way_out))
        else:
            note = "folded into a constant or unused" if layer.name in constants else "no computation of its own"
            rows.append(PlanRow(layer.name, layer.operator, Verdict.EXACT, note))
    for name, left in by_layer.items():  # hub nodes without a layer of their own (an interface's cast, say)
        found = worst(left)
        if found.verdict is not Verdict.EXACT:
            rows.append(PlanRow(name, found.operator, found.verdict, found.note, found.way_out))
    return rows


def refused_rows(layers: Sequence[Layer], refusals: Sequence[Refusal]) -> list[PlanRow]:
    """Rows where the reader of the source's own format has refused layers."""
    by_layer = {refusal.layer: refusal for refusal in refusals}
    rows = []
    for layer in layers:
        refusal = by_layer.pop(layer.name, None)
        if refusal is None:
            rows.append(
                PlanRow(layer.name, layer.operator, Verdict.UNDECIDED, "the target is asked once all can be read")
            )
        else:
            rows.append(PlanRow(layer.name, layer.operator, Verdict.REFUSED, refusal.cause, refusal.way_out))
    rows += [
        PlanRow(refusal.layer, refusal.operator, Verdict.REFUSED, refusal.cause, refusal.way_out)
        for refusal in by_layer.values()
    ]
    return rows


def not_fixed(source: str, target: str, spec: TensorSpec, flexible: bool) -> Refusal:
    """The refusal of an input whose sizes are open, with the options that set them."""
    dims = spec.shape or ()
    example = ", ".join(str(dim) if isinstance(dim, int) else "1" for dim in dims) + ("," if len(dims) == 1 else "")
    cause = f"its shape {spec.describe()} is not fixed"
    if spec.shape is None:
        return Refusal(source, target, "input", spec.name, cause, f"pass shapes={{{spec.name!r}: (…)}}")
    way_out = f"pass shapes={{{spec.name!r}: ({example})}} for example"
    if flexible:
        axis = next(axis for axis, dim in enumerate(dims) if not isinstance(dim, int))
        way_out += f", or a range, wb.Range(1, 8), in the place of the size of dimension {axis}"
    return Refusal(source, target, "input", spec.name, cause, way_out)
