"""A session as a file: not its models, but the steps that made them, which always make the same.

The file is an ``.npz``: the steps as JSON, and the arrays that a comparison was fed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import workbench
from workbench import limits
from workbench.errors import LimitError, ModelError, SaveError, WorkbenchError
from workbench.files import digest, replacing
from workbench.formats import format_of
from workbench.npz import DAMAGES, read_npz
from workbench.recorded import is_recording
from workbench.session.state import Attempt, State

Array = np.ndarray[Any, Any]

SUFFIX = ".workbench"
KIND = "workbench-session"
VERSION = 1
STEPS = ("plan", "convert", "compare")
"""What a file may have taken again: none of these writes anything."""

VALUES = ("ImageInput", "Images", "Range")
"""Values of the public interface that options hold; all are dataclasses."""


@dataclass(frozen=True)
class Kept:
    """What a file says of a session.

    Attributes:
        name: of the model, on display.
        source: the path that it was read from; ``None`` if it was uploaded or a live object.
        digest: SHA-256 of what was read.
        options: the further arguments of ``wb.load``.
        steps: ``plan``, ``convert`` and ``compare``, those that were taken: what with.
        history: everything that was tried.
    """

    name: str
    source: Path | None
    digest: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history: tuple[Attempt, ...] = ()


def is_session(source: object) -> bool:
    """Whether it is the path of a session's file, by its suffix."""
    return isinstance(source, str | os.PathLike) and str(source).endswith(SUFFIX)


def save(state: State, path: Path, overwrite: bool = False) -> Path:
    """Write what leads to the state; returns where it is.

    Raises:
        SaveError: there is nothing to save yet, or something in it cannot be written down; or there is a file already.
    """
    origin = state.origin
    if origin is None or state.model is None:
        raise SaveError("the session is empty; open a model first. Nothing was written.")
    arrays: dict[str, Array] = {}
    source = Path(str(origin.value)) if origin.is_path and not origin.uploaded else None
    steps: dict[str, Mapping[str, Any]] = {}
    if state.plan is not None:
        steps["plan"] = {"to": state.plan.target_format, **state.options}
    if state.converted is not None:
        steps["convert"] = {"to": state.converted_to, **state.converted_with}
    if state.report is not None:
        steps["compare"] = state.compared_with
    content = {
        "kind": KIND,
        "version": VERSION,
        "name": origin.name,
        "source": None if source is None else _seen_from(source, path.parent),
        "digest": "" if source is None else digest(source),
        "options": {} if source is None else origin.options,
        "steps": steps,
        "history": [dataclasses.asdict(attempt) for attempt in state.history],
    }
    text = json.dumps(_plain(content, arrays, ""), ensure_ascii=False, indent=1)
    with replacing(path, overwrite=overwrite) as partial, partial.open("wb") as handle:
        np.savez(handle, session=np.array(text), **arrays)  # type: ignore[arg-type]
    return path


def load(path: Path) -> Kept:
    """What the file says.

    Raises:
        ModelError: it is no such file, or one of a newer version.
        LimitError: it is beyond the limits.
    """
    try:
        arrays = read_npz(path)
        text = str(arrays["session"])
        limits.check("text_bytes", len(text), str(path))
        content = json.loads(text)
        if content["kind"] == KIND and content["version"] <= VERSION:
            return _kept(_restored(content, arrays), path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file.") from None
    except (WorkbenchError, *DAMAGES) as error:
        if isinstance(error, LimitError):
            raise
        raise ModelError(f"{path}: no session that the workbench has saved: {error}.") from error
    raise ModelError(f"{path}: a {content['kind']} of version {content['version']}; this workbench knows {VERSION}.")


def _kept(content: Mapping[str, Any], path: Path) -> Kept:
    foreign = [step for step in content["steps"] if step not in STEPS]
    if foreign:
        raise ValueError(f"it would have the step {foreign[0]!r} taken; opening one takes {', '.join(STEPS)} only")
    return Kept(
        name=str(content["name"]),
        source=None if content["source"] is None else path.parent / str(content["source"]),
        digest=str(content["digest"]),
        options=dict(content["options"]),
        steps={step: dict(arguments) for step, arguments in content["steps"].items()},
        history=tuple(_attempt(item) for item in content["history"]),
    )


def attempt_of(step: str, arguments: Mapping[str, Any], outcome: str, *, ok: bool) -> Attempt:
    """An entry of the history. A model or a batch of arrays is kept by its type only, since history is long.

    An upload is known by its name, not by where it lies for the moment.
    """
    if arguments.get("uploaded"):
        return Attempt(step, {"source": arguments["name"], "uploaded": True}, outcome, ok, whole=False)
    recorded: dict[str, Any] = {}
    whole = True
    for name, value in arguments.items():
        recorded[name] = str(value) if isinstance(value, Path) else value
        if not _is_small(value):
            recorded[name] = type(value).__name__
            whole = False
    return Attempt(step, recorded, outcome, ok, whole)


def _is_small(value: object) -> bool:
    """Whether the history can keep a value: texts, numbers, and the options that hold such."""
    if isinstance(value, Mapping):
        return all(map(_is_small, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_small, value))
    return value is None or isinstance(value, str | int | float | Path) or type(value).__name__ in VALUES


def _attempt(item: Mapping[str, Any]) -> Attempt:
    return Attempt(
        step=str(item["step"]),
        arguments={str(name): value for name, value in item["arguments"].items()},
        outcome=str(item["outcome"]),
        ok=bool(item["ok"]),
        whole=bool(item["whole"]),
    )


@contextlib.contextmanager
def taken_again(step: str, path: Path) -> Iterator[None]:
    """A step with what a file says of it: arguments that it does not take are the file's fault.

    Raises:
        ModelError: they are.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except DAMAGES as error:
        raise ModelError(f"{path}: the step {step} cannot be taken as the file says: {error!r}.") from error


def check_source(kept: Kept) -> Path:
    """The path of the model, which is still what it was.

    Raises:
        ModelError: there is none, or it has changed; the way out is to name it.
    """
    way_out = "Name the model: wb.Session.load(path, source=…)."
    if kept.source is None:
        raise ModelError(f"the session's model {kept.name!r} came through a browser or was a live object. {way_out}")
    if not os.path.exists(kept.source):  # False for a name that no file can have
        raise ModelError(f"the session's model is no longer at {kept.source}. {way_out}")
    if not is_recording(kept.source):
        format_of(kept.source)  # only what is a model is read to its end
    if digest(kept.source) != kept.digest:
        raise ModelError(f"the session's model {kept.source} has changed since. {way_out}")
    return kept.source


def _seen_from(source: Path, folder: Path) -> str:
    """Relative if it lies below the folder of the session's file, so that both can move together."""
    whole, around = source.absolute(), folder.absolute()
    return whole.relative_to(around).as_posix() if whole.is_relative_to(around) else str(whole)


def _plain(value: Any, arrays: dict[str, Array], where: str) -> Any:
    """What JSON can carry; arrays are put aside."""
    if dataclasses.is_dataclass(value) and type(value).__name__ in VALUES:
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return {"$value": type(value).__name__, **_plain(fields, arrays, where)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, arrays, f"{where} {key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, arrays, where) for item in value]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, np.ndarray) and value.dtype != object:
        arrays[f"array{len(arrays)}"] = value
        return {"$array": f"array{len(arrays) - 1}"}
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise SaveError(
        f"the session's{where} is a {type(value).__name__}, which cannot be written down; "
        "hand over arrays or a path in its place. Nothing was written."
    )


def _restored(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_restored(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tuple" in value:
        return tuple(_restored(value["$tuple"], arrays))
    if "$array" in value:
        return arrays[str(value["$array"])]
    fields = {key: _restored(item, arrays) for key, item in value.items() if key != "$value"}
    if "$value" not in value:
        return fields
    if value["$value"] not in VALUES:
        raise ValueError(f"it holds a {value['$value']!r}")
    return getattr(workbench, value["$value"])(**fields)
