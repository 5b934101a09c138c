"""Step 3: the plan for a target, then the conversion."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets

from workbench.document import TensorSpec
from workbench.errors import OptionError
from workbench.formats import all_formats, format_named, make_options
from workbench.hub.ranges import ShapeOption, check_shapes, largest, parse_shape, shape_text
from workbench.plan import Plan, Verdict
from workbench.session import Failure, Session
from workbench.widgets.base import disclosure, row, show, stack
from workbench.widgets.content import Content, alert, badges, facts, text
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.option_fields import DEFAULT, Choice, Field, Names, fields_of
from workbench.widgets.step import Step
from workbench.widgets.text import shown

TONES = {"exact": "ok", "approximate": "warn", "refused": "bad", "undecided": "neutral"}
COLUMNS = (
    Column("layer", width="2fr"),
    Column("operator", width="1.2fr"),
    Column("verdict", width="1.2fr", tones=TONES),
    Column("why, and the way out", kind="prose", width="3.1fr"),
)


class ShapeField:
    """The sizes of one input with dynamic dimensions, or their ranges, as a text field.

    Args:
        spec: the input.
        needed: whether sizes have to be given; else the field begins empty, and what is open stays so.
    """

    def __init__(self, spec: TensorSpec, needed: bool) -> None:
        self.spec, self.needed = spec, needed
        sizes = ", ".join(str(dim) if isinstance(dim, int) else "1" for dim in spec.shape or ())
        self.widget = ipywidgets.Text(
            value=sizes if needed else "",
            placeholder=f"open; or sizes like {sizes}",
            description=shown(spec.name, 40),
            tooltip=shown(spec),
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "auto"},
        )

    def value(self) -> ShapeOption:
        """The sizes that were typed: one shape, with ranges if need be, or several.

        Raises:
            OptionError: they are no sizes, or do not fit the input.
        """
        try:
            shape = parse_shape(self.widget.value)
            check_shapes([self.spec], {self.spec.name: shape})
            shapes: Sequence[Any] = shape if shape and isinstance(shape[0], tuple) else [shape]
            if any(math.prod(largest(size) for size in one) > 1 << 40 for one in shapes):
                raise OptionError("too large")
        except OptionError as error:
            raise OptionError(
                f"{self.spec.name}: the shape {shown(self.widget.value)!r} does not fit {self.spec.describe()}; "
                "give one whole number for each dimension, or a range like 1..8."
            ) from error
        return shape


class Convert(Step):
    """Chooses a target and its options, shows the plan, converts. ``plan()`` and ``convert()`` do what clicks do."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        formats = all_formats()
        self.target = ipywidgets.ToggleButtons(
            options=[(known.title, name) for name, known in formats.items()],
            value=None,
            description="Target",
            tooltips=[f"Convert to {known.title}" for known in formats.values()],
        )
        self.target.style.button_width = "auto"
        self.options: dict[str, Field] = {}
        self.shapes: dict[str, ShapeField] = {}
        self._option_row = row()
        self._shape_row = row()
        self._further = stack(name="wb-indent")
        self.more = disclosure("More options", self._further, "Names, pictures, labels, states, metadata and others")
        self.keep = ipywidgets.Button(
            description="Keep the marked in float32",
            tooltip="Mixed precision: the marked layers stay in float32, all others are in float16",
            layout={"width": "auto"},
        )
        self.button = ipywidgets.Button(description="Convert", button_style="primary", disabled=True)
        self.verdict = Content(live=True)
        self.table = LayerTable(COLUMNS, label="Plan", height=208, markable=True)
        self.chosen = Content()
        self.widget = stack(
            self.target,
            self._option_row,
            self._shape_row,
            self._further,
            self.verdict,
            self.table,
            self.chosen,
            row(self.button, self.keep),
        )
        self._model: object = None
        self._plan: Plan | None = None
        self._followed: object = None
        self._sent: object = None
        self.when(self.target, "value", lambda target: self._chosen())
        self.button.on_click(lambda _: self._start("convert"))
        self.keep.on_click(lambda _: self._keep_marked())
        self.table.observe(lambda change: self._explain(change["new"]), names="selected")
        self.table.observe(lambda change: show(self.keep, bool(change["new"])), names="marked")
        self.watch()

    def plan(self, target: str, /, **options: Any) -> Plan:
        """Plan now; raises what goes wrong. The controls follow."""
        return self.session.plan(target, **options)

    def convert(self, target: str | None = None, /, **options: Any) -> object:
        """Convert now; raises what goes wrong. The controls follow."""
        return self.session.convert(target, **options)

    def chosen_options(self) -> dict[str, Any]:
        """What the controls say, without the options that are left at their default.

        Raises:
            OptionError: something in a control is no such option, or the options do not fit together.
        """
        found = {name: field.value() for name, field in self.options.items()}
        options = {name: value for name, value in found.items() if value is not DEFAULT}
        if self.target.value:
            make_options(format_named(self.target.value).options, options)
        typed = {name: field for name, field in self.shapes.items() if field.needed or field.widget.value.strip()}
        shapes = {name: field.value() for name, field in typed.items()}
        return {**options, "shapes": shapes} if shapes else options

    def _needs_shapes(self) -> bool:
        """Whether sizes have to be given, with the options as they are chosen."""
        if not self.target.value:
            return False
        chosen = format_named(self.target.value)
        plain = {name: field.control for name, field in self.options.items() if isinstance(field.control, Choice)}
        try:
            options = make_options(chosen.options, {name: control.widget.value for name, control in plain.items()})
        except OptionError:  # said where the plan is made
            return chosen.static_shapes
        return not chosen.leaves_open(options)

    # What the user does

    def _chosen(self) -> None:
        with self._drawing:
            self._make_fields()
        self._start("plan")

    def _replan(self) -> None:
        """An option has changed; with some of them sizes stay open."""
        with self._drawing:
            self._make_shapes()
        self._start("plan")

    def _keep_marked(self) -> None:
        rows = self.table.all_rows
        marked = [str(rows[place][0]) for place in self.table.marked]
        with self.quietly():
            self.options["precision"].control.set("mixed")
            self.options["keep_fp32"].control.set(marked)
        self._start("plan")

    def _start(self, step: str) -> None:
        if self.session.model is None or self.target.value is None:
            return
        try:
            options = self.chosen_options()
        except OptionError as error:
            self.button.disabled = True
            self.verdict.put(alert(type(error).__name__, str(error)))
            self._blame(str(error))
            show(self.table, False)  # it speaks of other sizes
            return
        self._blame("")
        self._sent = options
        self.session.start(step, to=self.target.value, **options)

    def _blame(self, message: str) -> None:
        """Show a message at the option that it speaks of, and that option if it is hidden."""
        named = [name for name in self.options if re.search(rf"^{name}\b|\b{name}\s*[=:]", message)]
        hidden = [name for name in named if not self.options[name].usual]
        culprit = next(iter((*hidden, *named)), None)
        for name, field in self.options.items():
            field.message.put(text(message, "bad") if name == culprit else None)
        if hidden:
            self.more.value = True

    # What the session says

    def _make_fields(self) -> None:
        """Controls for the target's options, and for the shapes of the model's dynamic inputs."""
        target, model = self.target.value, self.session.model
        self.options = {}
        if target and model is not None:
            names = Names(
                tuple(spec.name for spec in model.inputs),
                tuple(spec.name for spec in model.outputs),
                tuple(layer.name for layer in model.layers),
            )
            self.options = fields_of(format_named(target).options, names, without=("shapes",))
        for field in self.options.values():
            for widget in field.control.watched:
                self.when(widget, "value", lambda _: self._replan())
        usual = [field for field in self.options.values() if field.usual]
        self._option_row.children = (*(field.control.widget for field in usual), self.more) if self.options else ()
        self._further.children = tuple(field.widget for field in self.options.values() if field not in usual)
        self.table.markable = "keep_fp32" in self.options
        self.shapes = {}
        self._make_shapes()

    def _make_shapes(self) -> None:
        """Fields for the sizes of dynamic inputs; new ones, if it has changed whether sizes are needed."""
        needed, model = self._needs_shapes(), self.session.model
        if self.shapes and all(field.needed == needed for field in self.shapes.values()):
            return
        dynamic = (
            [spec for spec in model.inputs if not spec.is_static] if model is not None and self.target.value else []
        )
        self.shapes = {spec.name: ShapeField(spec, needed) for spec in dynamic}
        for field in self.shapes.values():
            self.when(field.widget, "value", lambda _: self._start("plan"))
        fields = tuple(field.widget for field in self.shapes.values())
        self._shape_row.children = (ipywidgets.Label("Sizes of dynamic inputs"), *fields) if fields else ()
        show(self._shape_row, bool(fields))

    def draw(self) -> None:
        state = self.session.state
        with self.quietly():
            if state.model is not self._model:
                self._model = state.model
                self.target.value = state.target
                self._make_fields()
            elif state.target is not None and state.target != self.target.value and not self.session.busy:
                self.target.value = state.target
                self._make_fields()
            if state.options is not self._followed and state.target is not None and not self.session.busy:
                self._followed = state.options
                if state.options != self._sent:  # else the user may have gone on since
                    self._follow(state.options)
        self._draw_plan(state.plan)
        plan = state.plan if self._failed() is None else None
        fits = plan is not None and plan.ok and plan.target_format == self.target.value
        self.button.disabled = self.session.busy or not fits

    def _follow(self, options: Mapping[str, Any]) -> None:
        """Put the options of a plan or conversion into the controls."""
        for name, field in self.options.items():
            field.control.set(options.get(name, DEFAULT))
        self._make_shapes()
        for name, sizes in (options.get("shapes") or {}).items():
            if name in self.shapes:
                self.shapes[name].widget.value = shape_text(sizes)

    def _failed(self) -> Failure | None:
        """Why there is no plan of what is chosen, if making one has failed."""
        failure = self.session.state.failure
        return failure if failure is not None and failure.step == "plan" and not failure.cancelled else None

    def _draw_plan(self, plan: Plan | None) -> None:
        state, failed = self.session.state, self._failed()
        if failed is not None:
            self.verdict.put(text(failed.message, "bad"))
        elif plan is not None:
            same = state.converted_to == plan.target_format and state.converted_with == state.options
            self.verdict.put(*_verdict(plan, same))
        elif self.session.task is None and state.failure is None:
            done = state.converted
            about = f"Converted to {done.format}: {len(done.layers)} layers." if done else "Choose a target."
            self.verdict.put(text(about, "neutral"))
        if plan is not self._plan:
            self._plan = plan
            self.table.put([] if plan is None else rows_of(plan))
        show(self.table, bool(self.table.total) and failed is None)
        show(self.keep, "keep_fp32" in self.options and bool(self.table.marked))
        failure = state.failure
        if failure is not None and failure.step in ("plan", "convert") and isinstance(failure.error, OptionError):
            self._blame(failure.message)

    def _explain(self, index: int) -> None:
        """The chosen row in full, since a table cuts long sentences."""
        if self._plan is None or not 0 <= index < len(self.table.all_rows):
            self.chosen.put()
            return
        layer, operator, verdict, why = self.table.all_rows[index]
        self.chosen.put(facts(("layer", f"{operator} {layer}"), ("verdict", verdict), ("why", why or "—")))

    def static_html(self) -> str:
        return self.verdict.static_html() + self.table.static_html()


def rows_of(plan: Plan) -> list[tuple[str, str, str, str]]:
    """The table of a plan: what is refused first, then approximations, then the rest in the model's order."""
    order = {Verdict.REFUSED: 0, Verdict.APPROXIMATE: 1, Verdict.UNDECIDED: 2, Verdict.EXACT: 3}
    ranked = sorted(plan.rows, key=lambda planned: order[planned.verdict])
    return [
        (
            planned.layer,
            planned.operator,
            str(planned.verdict),
            "; ".join(filter(None, (planned.note, planned.way_out))),
        )
        for planned in ranked
    ]


def _verdict(plan: Plan, converted: bool) -> list[dict[str, Any]]:
    counts = [(f"{plan.count(verdict):,} {verdict}", TONES[str(verdict)]) for verdict in Verdict if plan.count(verdict)]
    blocks = [badges(*counts)] if counts else []
    if converted:
        blocks.append(text("Converted.", "ok"))
    elif plan.ok:
        blocks.append(text("Nothing stands against this conversion.", "neutral"))
    else:
        blocks.append(alert("Refused", "", [str(refusal) for refusal in plan.refusals]))
    return blocks
