"""Are these arrays what the model takes? One check, with messages that say what would be."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.document import TensorSpec
from workbench.errors import ExecutionError

Array = np.ndarray[Any, Any]


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, Any]) -> None:
    """Check names, dtypes and shapes of feeds against a model's inputs.

    Args:
        inputs: what the model takes; an unknown shape or dimension takes anything.
        feeds: input name → array.

    Raises:
        ExecutionError: an input without a feed, a feed without an input, something that is no array, or another dtype
            or shape than the input's. All of them in one message.
    """
    names = [spec.name for spec in inputs]
    wrong = [_unknown(name, names) for name in feeds if name not in names]
    for spec in inputs:
        if spec.name not in feeds:
            wrong.append(f"the input {spec} has no feed")
        else:
            wrong += _mismatches(spec, feeds[spec.name])
    if wrong:
        raise ExecutionError(f"the feeds do not fit the model: {'; '.join(wrong)}.")


def _unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else f"; it takes {', '.join(map(repr, names)) or 'nothing'}"
    return f"it has no input {name!r}{hint}"


def _mismatches(spec: TensorSpec, feed: Any) -> list[str]:
    if not isinstance(feed, np.ndarray):
        return [f"the feed {spec.name!r} is a {type(feed).__name__}, a numpy array is needed"]
    wrong = []
    if not _dtype_fits(spec.dtype, feed.dtype):
        numbers = feed.dtype.kind in "biufc"
        way = f"; use .astype({spec.dtype!r})" if numbers and spec.dtype in np.sctypeDict else ""
        held = {"U": "text", "S": "bytes", "O": "made of Python objects"}.get(feed.dtype.kind, feed.dtype.name)
        wrong.append(f"the feed {spec.name!r} is {held}, the input takes {spec.dtype}{way}")
    if not spec.takes(feed.shape):
        wrong.append(f"the feed {spec.name!r} has the shape {list(feed.shape)}, the input takes {spec.describe()}")
    return wrong


def _dtype_fits(wanted: str, given: np.dtype[Any]) -> bool:
    if wanted == "undefined":
        return True
    return given.kind in "OUST" if wanted == "string" else given.name == wanted
