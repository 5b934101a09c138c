"""Step 3: the plan for a target, then the conversion."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets

from workbench.document import TensorSpec
from workbench.errors import OptionError
from workbench.formats import all_formats, format_named, make_options
from workbench.formats.coreml.compression import SCHEMES
from workbench.formats.coreml.options import TARGETS
from workbench.formats.nnef import DIALECTS
from workbench.hub.ranges import ShapeOption, check_shapes, largest, parse_shape, shape_text
from workbench.plan import Plan, Verdict
from workbench.session import Session
from workbench.widgets.base import Panel, row, show, stack
from workbench.widgets.content import Content, alert, badges, facts, text
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.text import shown

TONES = {"exact": "ok", "approximate": "warn", "refused": "bad", "undecided": "neutral"}
COLUMNS = (
    Column("layer", width="2fr"),
    Column("operator", width="1.2fr"),
    Column("verdict", width="0.9fr", tones=TONES),
    Column("why, and the way out", kind="prose", width="3.4fr"),
)

CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "coreml": {"precision": ("fp32", "fp16"), "target": tuple(TARGETS), "compress": ("", *SCHEMES)},
    "nnef": {"dialect": DIALECTS},
}
"""Options that become drop-down lists; all others are typed in as JSON."""


class ShapeField:
    """The sizes of one input with dynamic dimensions, or their ranges, as a text field."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        sizes = ", ".join(str(dim) if isinstance(dim, int) else "1" for dim in spec.shape or ())
        self.widget = ipywidgets.Text(
            value=sizes,
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


class Convert(Panel):
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
        self.options: dict[str, ipywidgets.Dropdown] = {}
        self.shapes: dict[str, ShapeField] = {}
        self.more = ipywidgets.Text(
            description="further options",
            placeholder='{"constants": {"sr": 16000}}',
            tooltip="Options of the target as JSON, as the command line and the method take them",
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "auto", "flex": "1 1 16em"},
        )
        self._option_row = row()
        self._shape_row = row()
        self.button = ipywidgets.Button(description="Convert", button_style="primary", disabled=True)
        self.verdict = Content()
        self.table = LayerTable(COLUMNS, label="Plan", height=208)
        self.chosen = Content()
        self.widget = stack(
            self.target, self._option_row, self._shape_row, self.verdict, self.table, self.chosen, row(self.button)
        )
        self._model: object = None
        self._plan: Plan | None = None
        self._fields_for: str | None = None
        self.when(self.target, "value", lambda target: self._chosen())
        self.when(self.more, "value", lambda _: self._start("plan"))
        self.button.on_click(lambda _: self._convert_chosen())
        self.table.observe(lambda change: self._explain(change["new"]), names="selected")
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
            OptionError: a shape field holds no shape, or the further options are no JSON.
        """
        defaults = _defaults(self.target.value)
        options = {name: box.value for name, box in self.options.items() if box.value != defaults.get(name)}
        shapes = {name: field.value() for name, field in self.shapes.items()}
        options.update(_typed(self.more.value))
        return {**options, "shapes": shapes} if shapes and self._needs_shapes() else options

    def _needs_shapes(self) -> bool:
        """Whether sizes have to be given, with the options as they are chosen."""
        if not self.target.value:
            return False
        chosen = format_named(self.target.value)
        try:
            options = make_options(chosen.options, {name: box.value for name, box in self.options.items()})
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
        show(self._shape_row, self._needs_shapes())
        self._start("plan")

    def _convert_chosen(self) -> None:
        self._start("convert")

    def _start(self, step: str) -> None:
        if self.session.model is None or self.target.value is None:
            return
        try:
            options = self.chosen_options()
        except OptionError as error:
            self.button.disabled = True
            self.verdict.put(alert(type(error).__name__, str(error)))
            show(self.table, False)  # it speaks of other sizes
            return
        self.session.start(step, to=self.target.value, **options)

    # What the session says

    def _make_fields(self) -> None:
        """Controls for the target's options, and for the shapes of the model's dynamic inputs."""
        target = self.target.value
        defaults = _defaults(target)
        self.options = {}
        for name, choices in CHOICES.get(target or "", {}).items():
            if name in defaults:
                self.options[name] = _dropdown(name, choices, defaults[name])
        model = self.session.model
        dynamic = [spec for spec in model.inputs if not spec.is_static] if model is not None else []
        self.shapes = {spec.name: ShapeField(spec) for spec in dynamic} if self._needs_shapes() else {}
        show(self._shape_row, bool(self.shapes))
        for box in self.options.values():
            self.when(box, "value", lambda _: self._replan())
        for field in self.shapes.values():
            self.when(field.widget, "value", lambda _: self._start("plan"))
        self._option_row.children = (*self.options.values(), self.more) if target else ()
        fields = tuple(field.widget for field in self.shapes.values())
        self._shape_row.children = (ipywidgets.Label("Sizes of dynamic inputs"), *fields) if fields else ()
        self._fields_for = target

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
            if state.plan is not self._plan and state.plan is not None:
                self._follow(state.options)
        self._draw_plan(state.plan)
        current = state.plan is not None and state.plan.target_format == self.target.value
        self.button.disabled = self.session.busy or not (current and state.plan is not None and state.plan.ok)

    def _follow(self, options: Mapping[str, Any]) -> None:
        """Put the options of the plan into the controls."""
        defaults = _defaults(self.target.value)
        for name, box in self.options.items():
            value = options.get(name, defaults.get(name))
            if value in CHOICES[self.target.value or ""][name]:
                box.value = value
        show(self._shape_row, bool(self.shapes) and self._needs_shapes())
        further = {name: value for name, value in options.items() if name != "shapes" and name not in self.options}
        self.more.value = json.dumps(further, default=_plain) if further else ""
        for name, sizes in (options.get("shapes") or {}).items():
            if name in self.shapes:
                self.shapes[name].widget.value = shape_text(sizes)

    def _draw_plan(self, plan: Plan | None) -> None:
        task = self.session.task
        if plan is None and task is None and self.session.state.failure is None:
            done = self.session.converted
            about = f"Converted to {done.format}: {len(done.layers)} layers." if done else "Choose a target."
            self.verdict.put(text(about, "neutral"))
        elif plan is not None:
            self.verdict.put(*_verdict(plan, self.session.state.converted_to))
        if plan is not self._plan:
            self._plan = plan
            self.table.put([] if plan is None else rows_of(plan))
        show(self.table, bool(self.table.total))

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


def _verdict(plan: Plan, converted_to: str | None) -> list[dict[str, Any]]:
    counts = [(f"{plan.count(verdict):,} {verdict}", TONES[str(verdict)]) for verdict in Verdict if plan.count(verdict)]
    blocks = [badges(*counts)] if counts else []
    if converted_to == plan.target_format:
        blocks.append(text("Converted.", "ok"))
    elif plan.ok:
        blocks.append(text("Nothing stands against this conversion.", "neutral"))
    else:
        blocks.append(alert("Refused", "", [str(refusal) for refusal in plan.refusals]))
    return blocks


def _defaults(target: str | None) -> dict[str, Any]:
    """The options of a target with their defaults."""
    if target is None:
        return {}
    return {field.name: field.default for field in dataclasses.fields(format_named(target).options)}


def _plain(value: Any) -> Any:
    """An option's value as JSON can say it: an array as a list, an image input as the mapping of its arguments."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _typed(words: str) -> dict[str, Any]:
    """The further options.

    Raises:
        OptionError: it is no JSON object.
    """
    if not words.strip():
        return {}
    try:
        found = json.loads(words)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"the further options {shown(words)!r} are no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise OptionError(f'the further options {shown(words)!r} are no JSON object: {{"name": value}}.')
    return found


def _dropdown(name: str, choices: tuple[str, ...], default: object) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=[(choice or "none", choice) for choice in choices],
        value=default if default in choices else choices[0],
        description=name,
        style={"description_width": "initial"},
        layout={"width": "auto"},
    )
