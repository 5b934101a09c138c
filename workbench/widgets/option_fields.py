"""Controls for the options of a conversion, made from what a format declares: types, defaults, help, and metadata.

See :class:`workbench.formats.Options` for what a declaration can say. Each control knows its value (the default is
none) and takes one; what is typed wrong raises with the name of the option.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import fnmatch
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from workbench.errors import OptionError
from workbench.formats import Options
from workbench.widgets.base import row, stack, text_field
from workbench.widgets.content import Content, text
from workbench.widgets.text import shown

MAX_KEYS = 16
"""Of a mapping with more possible keys no control for each is made; it is typed in as JSON."""

DEFAULT = object()
"""The value of a control that leaves its option as it is."""


@dataclasses.dataclass(frozen=True)
class Names:
    """What a model has that options are about."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    def of(self, what: str) -> tuple[str, ...]:
        """The names of ``inputs``, ``outputs``, ``interface`` (both) or ``layers``."""
        if what == "interface":
            return tuple(dict.fromkeys((*self.inputs, *self.outputs)))
        return tuple(getattr(self, what, ()))


class Control:
    """One option, or a part of one. Without anything typed its value is :data:`DEFAULT`."""

    widget: ipywidgets.Widget
    watched: Sequence[ipywidgets.Widget]

    def value(self) -> Any:
        """What was chosen or typed.

        Raises:
            OptionError: it is none that the option can take.
        """
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Show a value; ``DEFAULT`` for none."""
        raise NotImplementedError


class Choice(Control):
    """One of several texts."""

    def __init__(self, label: str, choices: Sequence[str], default: str) -> None:
        self.default = default
        self.widget = ipywidgets.Dropdown(
            options=[(shown(choice, 60) or "none", choice) for choice in choices],
            value=default if default in choices else choices[0],
            description=label,
            style={"description_width": "initial"},
            layout={"width": "auto"},
        )
        self.watched = (self.widget,)

    def value(self) -> Any:
        return DEFAULT if self.widget.value == self.default else self.widget.value

    def set(self, value: Any) -> None:
        wanted = self.default if value is DEFAULT else value
        if any(choice == wanted for _, choice in self.widget.options):
            self.widget.value = wanted


class Typed(Control):
    """A text, and the functions that read it and write it."""

    def __init__(
        self, label: str, read: Callable[[str], Any], write: Callable[[Any], str], hint: str = "", lines: bool = False
    ) -> None:
        self.read, self.write = read, write
        self.widget = text_field(label, hint)
        if lines:
            self.widget = ipywidgets.Textarea(
                description=label, placeholder=hint, continuous_update=False, rows=3,
                style={"description_width": "initial"}, layout={"flex": "1 1 320px", "width": "auto"},
            )  # fmt: skip
        self.watched = (self.widget,)

    def value(self) -> Any:
        typed = self.widget.value.strip()
        return self.read(typed) if typed else DEFAULT

    def set(self, value: Any) -> None:
        self.widget.value = "" if value is DEFAULT else self.write(value)


class Group(Control):
    """A control for each key; the value is a mapping of those that say something."""

    def __init__(self, controls: Mapping[str, Control]) -> None:
        self.controls = dict(controls)
        self.widget = row(*(control.widget for control in controls.values()))
        self.watched = [widget for control in controls.values() for widget in control.watched]

    def value(self) -> Any:
        found = {key: control.value() for key, control in self.controls.items()}
        chosen = {key: value for key, value in found.items() if value is not DEFAULT}
        return chosen or DEFAULT

    def set(self, value: Any) -> None:
        given = {} if value is DEFAULT else dict(value)
        for key, control in self.controls.items():
            control.set(given.get(key, DEFAULT))


class Record(Group):
    """The fields of a value like an image input: nothing, unless its first field is chosen."""

    def __init__(self, label: str, kind: type) -> None:
        first, *others = dataclasses.fields(kind)
        controls: dict[str, Control] = {
            first.name: Choice(label, ("", *choices_of(first)), ""),
            **{item.name: Typed(item.name, _numbers, _joined, hint=str(item.default)) for item in others},
        }
        self.kind, self.first = kind, first.name
        super().__init__(controls)
        for control in list(controls.values())[1:]:
            control.widget.layout = {"width": "14em"}

    def value(self) -> Any:
        return DEFAULT if self.controls[self.first].value() is DEFAULT else super().value()

    def set(self, value: Any) -> None:
        given = value
        if value is not DEFAULT:
            given = value if isinstance(value, Mapping) else dataclasses.asdict(value)
            usual = {item.name: item.default for item in dataclasses.fields(self.kind)}
            first = given.get(self.first, usual[self.first])
            others = {name: item for name, item in given.items() if name != self.first and item != usual.get(name)}
            given = {self.first: first, **others}
        super().set(given)


class Field:
    """One option with its help and, if something is wrong with it, what that is.

    Args:
        name: of the option.
        control: for its value.
        help_text: what it does.
        usual: whether it is one of those that everybody looks at: those with a few choices.
    """

    def __init__(self, name: str, control: Control, help_text: str, usual: bool) -> None:
        self.name, self.control, self.usual = name, control, usual
        self.message = Content()
        about = Content()
        about.put(text(help_text, "neutral") if help_text else None)
        if isinstance(control, Choice):
            control.widget.tooltip = help_text
        self.widget = stack(row(control.widget), about, self.message, name="wb-option")

    def value(self) -> Any:
        """See :meth:`Control.value`; what is wrong is said with the option's name.

        Raises:
            OptionError: what is typed is no such value.
        """
        try:
            return self.control.value()
        except OptionError as error:
            raise OptionError(f"{self.name}: {error}") from error


def fields_of(kind: type[Options], names: Names, without: Sequence[str] = ()) -> dict[str, Field]:
    """A field for each option of a class."""
    helps = help_of(kind)
    found = {}
    for declared in dataclasses.fields(kind):
        if declared.name not in without:
            control = control_for(declared, _hint(kind, declared.name), names)
            usual = bool(choices_of(declared))
            found[declared.name] = Field(declared.name, control, helps.get(declared.name, ""), usual)
    return found


def control_for(declared: dataclasses.Field[Any], hint: Any, names: Names) -> Control:
    """The control that fits what an option takes."""
    choices, values = choices_of(declared), declared.metadata.get("values", "")
    if choices:
        return Choice(declared.name, choices, str(declared.default))
    kinds = [kind for kind in _alternatives(hint) if kind is not type(None)]
    if kinds == [str] and values:
        return Choice(declared.name, ("", *names.of(values)), str(declared.default))
    if str in kinds:
        return Typed(declared.name, str, _joined, hint=str(declared.default) or "none")
    if typing.get_origin(kinds[0]) is collections.abc.Sequence:
        known = names.of(values)
        return Typed(declared.name, lambda typed: _listed(typed, known), _lines, hint="one a line", lines=True)
    if typing.get_origin(kinds[0]) is collections.abc.Mapping:
        return _mapping(declared, typing.get_args(kinds[0])[1], names)
    return Typed(declared.name, _json, json.dumps, hint=str(declared.default) if kinds == [int] else "JSON")


def _mapping(declared: dataclasses.Field[Any], held: Any, names: Names) -> Control:
    """A control for each key that can be, or one for all where they are not known or too many."""
    keys, values = names.of(declared.metadata.get("keys", "")), declared.metadata.get("values", "")
    if held is str and not keys:
        return Typed(declared.name, _pairs, _pair_lines, hint="name = text, one a line", lines=True)
    if not keys or len(keys) > MAX_KEYS:
        return Typed(declared.name, _json, _dumped, hint='{"name": value}', lines=True)
    if dataclasses.is_dataclass(held):
        return Group({key: Record(f"{declared.name}: {shown(key, 40)}", typing.cast(type, held)) for key in keys})
    made: dict[str, Control] = {}
    for key in keys:
        label = f"{declared.name}: {shown(key, 40)}"
        if values:
            made[key] = Choice(label, ("", *names.of(values)), "")
        else:
            texts = held is str
            hint = "as it is" if texts else "none, or JSON like 16000"
            made[key] = Typed(label, str if texts else _json, str if texts else _dumped, hint)
    return Group(made)


def choices_of(declared: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The texts that a field takes, if it takes certain ones only."""
    choices = declared.metadata.get("choices", ())
    return tuple(choices() if callable(choices) else choices)


def help_of(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each attribute, in sentences without markup."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").split("\n")
        start = lines.index("Attributes:") + 1 if "Attributes:" in lines else len(lines)
        name = ""
        for line in lines[start:]:
            begun = re.match(r"    (\w+): (.*)", line)
            if not line.strip() or not line.startswith("    "):
                break
            name = begun[1] if begun else name
            found[name] = begun[2] if begun else f"{found[name]} {line.strip()}"
    return {name: re.sub(r":\w+:`~?([^`]+)`|``", lambda match: match[1] or "", text) for name, text in found.items()}


def _hint(kind: type, name: str) -> Any:
    """The type of a field; ``Any`` where it cannot be told."""
    base = next(base for base in kind.__mro__ if name in inspect.get_annotations(base))
    declared = types.SimpleNamespace(__annotations__={name: base.__annotations__[name]})
    try:
        return typing.get_type_hints(declared, vars(sys.modules[base.__module__]))[name]
    except (NameError, TypeError):
        return Any


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _listed(typed: str, known: Sequence[str]) -> list[str | int]:
    """Lines; of known names also patterns (``encoder*``), in the order of the names. Whole numbers if all lines are.

    Raises:
        OptionError: nothing is called so.
    """
    lines = [line.strip() for line in typed.split("\n") if line.strip()]
    if not known:
        return [int(line) for line in lines] if all(re.fullmatch(r"-?\d+", line) for line in lines) else list(lines)
    found: dict[str | int, None] = {}
    for line in lines:
        matching = [line] if line in known else fnmatch.filter(known, line)
        if not matching:
            near = difflib.get_close_matches(line, known, n=1)
            hint = f" Did you mean {shown(near[0])!r}?" if near else ""
            raise OptionError(f"nothing is called {shown(line)!r}; give a name or a pattern like encoder*.{hint}")
        found.update(dict.fromkeys(matching))
    return list(found)


def _pairs(typed: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in filter(str.strip, typed.split("\n")):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise OptionError(f"{shown(line)!r} is not of the form name = text.")
        pairs[name.strip()] = value.strip()
    return pairs


def _numbers(typed: str) -> float | tuple[float, ...]:
    try:
        found = tuple(float(part) for part in typed.strip("()[] ").split(","))
    except ValueError:
        raise OptionError(f"{shown(typed)!r} is no number, nor several with commas between them.") from None
    return found[0] if len(found) == 1 else found


def _json(typed: str) -> Any:
    try:
        return json.loads(typed)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{shown(typed)!r} is no JSON ({error}).") from error


def _dumped(value: Any) -> str:
    return json.dumps(value, default=lambda item: item.tolist() if hasattr(item, "tolist") else str(item))


def _joined(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ", ".join(map(str, value))


def _lines(value: Any) -> str:
    return "\n".join(map(str, value))


def _pair_lines(value: Mapping[str, str]) -> str:
    return "\n".join(f"{name} = {item}" for name, item in value.items())
