"""The Python that does what a session has done so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.hub.ranges import Range
from workbench.session.state import Origin, State


def code_of(state: State) -> str:
    """A runnable script on the public API that leads to the state.

    A live object cannot be written down: the script then expects it under the name ``source``. An uploaded file is
    named as the user named it, and a comment says where it has to lie.
    """
    lines = ["import workbench as wb"]
    if state.origin is not None and state.model is not None:
        lines += ["", *_load(state.origin)]
    if state.plan is not None:
        lines += ["", f"plan = model.plan({_call(state.plan.target_format, **state.options)})", "print(plan)"]
    if state.converted is not None:
        lines += ["", f"converted = model.convert({_call(state.converted_to, **state.converted_with)})"]
    if state.recorded is not None:
        lines += ["", *_record(str(state.recorded), state.recorded_with)]
    if state.report is not None:
        lines += ["", *_compare(state.compared_with), "print(report)"]
    if state.counterfactual is not None:
        asked = f"counterfactual({_call(**state.asked)})" if state.asked else "smallest_correction()"
        lines += [f"print(report.{asked})"]
    if state.repro is not None:
        lines += [f"report.repro({_call(state.repro_of, str(state.repro))})"]
    if state.exported is not None:
        options = {"overwrite": True} if state.overwritten else {}
        lines += ["", f"converted.save({_call(str(state.exported), **options)})"]
    if state.report_file is not None:
        lines += [f"report.to_html({str(state.report_file)!r})"]
    return "\n".join(lines) + "\n"


def _load(origin: Origin) -> list[str]:
    if origin.uploaded:
        return [
            "# The file came through the browser: put it beside this script.",
            f"model = wb.load({_call(origin.name, **origin.options)})",
        ]
    if origin.is_path:
        return [f"model = wb.load({_call(str(origin.value), **origin.options)})"]
    kind = type(origin.value)
    live = ", ".join(["source", *origin.options])
    return [
        f"# {live}: as handed to the workbench (source is a live {kind.__module__}.{kind.__qualname__}).",
        f"model = wb.load({', '.join(['source', *(f'{name}={name}' for name in origin.options)])})",
    ]


def _compare(arguments: Mapping[str, Any]) -> list[str]:
    usual = {"reference": "model", "target": "converted"}
    sides = [_literal(arguments[side]) if arguments.get(side) is not None else usual[side] for side in usual]
    return _fed("report = wb.compare", sides, {name: value for name, value in arguments.items() if name not in usual})


def _record(path: str, arguments: Mapping[str, Any]) -> list[str]:
    side = {"source": "model", "converted": "converted"}[arguments["side"]]
    return _fed("wb.record", [side, repr(path)], {name: v for name, v in arguments.items() if name != "side" and v})


def _fed(function: str, positional: list[str], named: Mapping[str, Any]) -> list[str]:
    """A call that may be given feeds; arrays cannot be written down, so it expects those under the name ``feeds``."""
    call = [*positional, *(f"{name}={_literal(value)}" for name, value in named.items() if name != "feeds")]
    feeds = named.get("feeds")
    if feeds is None:
        return [f"{function}({', '.join(call)})"]
    if isinstance(feeds, str | Path):
        return [f"{function}({', '.join([*call, f'feeds={_literal(feeds)}'])})"]
    return [
        "# feeds is the {input name: array} that was handed over.",
        f"{function}({', '.join([*call, 'feeds=feeds'])})",
    ]


def _call(*positional: object, **named: object) -> str:
    return ", ".join([*map(_literal, positional), *(f"{name}={_literal(value)}" for name, value in named.items())])


def _literal(value: object) -> str:
    """``repr`` for what JSON and paths hold; containers of our own kinds become plain ones."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, Range):
        return f"wb.{value!r}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)
