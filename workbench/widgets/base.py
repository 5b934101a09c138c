"""What all parts of the user interface have in common: how they appear, with a browser and without one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets

from workbench.session import Session

THEME = (Path(__file__).parent / "theme.css").read_text(encoding="utf-8")
"""Colours, focus and spacing for every view, from JupyterLab's variables."""


def assets(name: str, *modules: str) -> tuple[str, str]:
    """The ESM and the CSS of the view of that name: the modules it builds on before it, and what all have."""
    folder = Path(__file__).parent
    files = ("keyboard", "toggles", *modules, name)
    style = (folder / f"{name}.css").read_text(encoding="utf-8")
    script = "\n".join((folder / f"{module}.js").read_text(encoding="utf-8") for module in files)
    return script, f"{THEME}\n{style}"


class View(anywidget.AnyWidget):
    """An own view. Its representation holds no address, since notebooks are regression tests."""

    def describe(self) -> str:
        """What stands between the parentheses of the representation."""
        return ""

    def static_html(self) -> str:
        """The last state as plain HTML, for readers without a kernel; deterministic."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**bundle, "text/plain": repr(self), "text/html": self.static_html()}, metadata


class Panel:
    """One step of the workbench over a session: composed of widgets, shown as :attr:`widget`.

    Args:
        session: shared with other panels; a new one by default.
    """

    def __init__(self, session: Session | None = None) -> None:
        self.session = session if session is not None else Session()
        self._drawing = threading.RLock()
        self._programmatic = threading.local()

    widget: ipywidgets.DOMWidget
    """What to put into a layout of one's own."""

    def watch(self) -> None:
        """Draw the session now and after each of its changes."""
        self.session.subscribe(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Draw the session's state. Called on any thread."""
        with self._drawing:
            self.draw()

    def draw(self) -> None:
        """Bring the widgets in line with the session's state."""

    def static_html(self) -> str:
        """The last state as plain HTML; deterministic."""
        return ""

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Set traits without taking the change for a wish of the user."""
        before = self.is_quiet
        self._programmatic.value = True
        try:
            yield
        finally:
            self._programmatic.value = before

    @property
    def is_quiet(self) -> bool:
        """Whether a change of a trait on this thread comes from the program."""
        return getattr(self._programmatic, "value", False)

    def when(self, widget: ipywidgets.Widget, trait: str, react: Callable[[Any], object]) -> None:
        """Call ``react(new value)`` when the user changes the trait."""

        def changed(change: dict[str, Any]) -> None:
            if not self.is_quiet:
                react(change["new"])

        widget.observe(changed, names=trait)

    def __repr__(self) -> str:
        origin = self.session.state.origin
        about = f"{origin.name!r}, {self.session.state.reached()}" if origin else "empty"
        return f"{type(self).__name__}({about})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle(self.widget, **kwargs)

    def bundle(self, widget: ipywidgets.DOMWidget, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A widget as what is displayed, with the panel's text and static rendering beside it."""
        bundle = widget._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}, metadata


def stack(*children: ipywidgets.Widget, name: str = "") -> ipywidgets.VBox:
    """Children one below the other."""
    box = ipywidgets.VBox(children)
    box.add_class("wb-stack")
    if name:
        box.add_class(name)
    return box


def row(*children: ipywidgets.Widget, name: str = "") -> ipywidgets.HBox:
    """Children side by side, wrapping where there is no room."""
    box = ipywidgets.HBox(children)
    box.add_class("wb-row")
    if name:
        box.add_class(name)
    return box


def text_field(label: str, hint: str = "") -> ipywidgets.Text:
    """A line to type in, as wide as there is room."""
    return ipywidgets.Text(
        description=label,
        placeholder=hint,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"flex": "1 1 320px", "width": "auto"},
    )


def disclosure(title: str, panel: ipywidgets.Widget, tooltip: str = "") -> ipywidgets.ToggleButton:
    """A button that shows and hides a part; it begins hidden."""
    button = ipywidgets.ToggleButton(description=title, tooltip=tooltip, value=False, layout={"width": "auto"})
    button.add_class("wb-disclosure")
    button.observe(lambda change: show(panel, button.value), names="value")
    show(panel, False)
    return button


def show(widget: ipywidgets.DOMWidget, visible: bool) -> None:
    """Show or take away a widget, out of the reach of the keyboard too."""
    widget.layout.display = None if visible else "none"
