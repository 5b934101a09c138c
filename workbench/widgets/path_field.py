"""A field for a path, with suggestions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from workbench.widgets.base import View, assets


class PathField(View):
    """A path to type.

    Args:
        submit: called when Enter is pressed, once :attr:`value` is what the field shows.
        description: the field's label.
        placeholder: shown where nothing is typed.
        options: the first suggestions.
    """

    _esm, _css = assets("path_field")

    value = traitlets.Unicode().tag(sync=True)
    options = traitlets.Tuple().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    placeholder = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, submit: Callable[[], object], *, description: str, placeholder: str, options: Sequence[str] = ()
    ) -> None:
        super().__init__(description=description, placeholder=placeholder, options=tuple(options))
        self._submit = submit
        self.on_msg(self._receive)

    def describe(self) -> str:
        return repr(self.value)

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        if not isinstance(message, dict):
            return
        self.value = str(message.get("value", self.value))
        if message.get("event") == "submit":
            self._submit()
