"""Step 5: the converted model and the report are written."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets

from workbench.formats import all_formats
from workbench.session import SUFFIX, Session
from workbench.widgets.base import row, show, stack
from workbench.widgets.content import Content, alert, text
from workbench.widgets.step import Step
from workbench.widgets.text import size

if TYPE_CHECKING:
    from workbench.model import Model

FORMS = {"coreml": (".mlpackage",), "nnef": (".nnef", ".nnef.tgz")}
"""Suffixes to write to, the proposed one first; by default the format's first."""

FIELD = {"flex": "1 1 320px", "width": "auto"}


class Export(Step):
    """Writes what the session made. ``export()`` and ``export_report()`` do what clicks do."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self.form = ipywidgets.Dropdown(description="Form", layout={"width": "auto"})
        self.path = ipywidgets.Text(description="Path", continuous_update=False, layout=FIELD)
        self.overwrite = ipywidgets.Checkbox(description="overwrite", indent=False, layout={"width": "auto"})
        self.button = ipywidgets.Button(description="Export", button_style="primary")
        self.report_path = ipywidgets.Text(description="Report", continuous_update=False, layout=FIELD)
        self.report_button = ipywidgets.Button(description="Save report")
        self.session_path = ipywidgets.Text(description="Session", continuous_update=False, layout=FIELD)
        self.session_button = ipywidgets.Button(
            description="Save session", tooltip="What was done so far, to go on with after a restart"
        )
        self.written = Content()
        self._report_row = row(self.report_path, self.report_button)
        self.widget = stack(
            row(self.path, self.form, self.overwrite, self.button),
            self._report_row,
            row(self.session_path, self.session_button),
            self.written,
        )
        self._model: object = None
        self.when(self.form, "value", self._set_suffix)
        self.button.on_click(lambda _: self._start())
        self.report_button.on_click(lambda _: self._start_report())
        self.session_button.on_click(lambda _: self._start_session())
        self.watch()

    def export(self, path: str | Path | None = None, overwrite: bool = False) -> Path:
        """Write the converted model now; without a path, to the one that is proposed. Raises what goes wrong."""
        return self.session.export(self.path.value if path is None else path, overwrite)

    def export_report(self, path: str | Path | None = None) -> Path:
        """Write the report as HTML now."""
        return self.session.export_report(self.report_path.value if path is None else path)

    def save_session(self, path: str | Path | None = None, overwrite: bool = False) -> Path:
        """Write the session's steps now, to be opened again (``wb.Workbench(path)``)."""
        return self.session.save(self.session_path.value if path is None else path, overwrite)

    def _start(self) -> None:
        self.session.start("export", path=self.path.value.strip(), overwrite=self.overwrite.value)

    def _start_report(self) -> None:
        self.session.start("export_report", path=self.report_path.value.strip())

    def _start_session(self) -> None:
        self.session.start("save", path=self.session_path.value.strip(), overwrite=self.overwrite.value)

    def _set_suffix(self, suffix: str | None) -> None:
        if suffix:
            self.path.value = _stem(self.path.value) + suffix

    def draw(self) -> None:
        state = self.session.state
        model = state.converted
        if model is not self._model:
            self._model = model
            with self.quietly():
                self._propose(model)
        self.button.disabled = self.session.busy or model is None
        self.report_button.disabled = self.session.busy or state.report is None
        self.session_button.disabled = self.session.busy
        show(self._report_row, state.report is not None)
        show(self.form, len(self.form.options) > 1)
        blocks = []
        if state.exported is not None:
            blocks.append(alert("Written", f"{state.exported}, {size(bytes_at(state.exported))}", tone="ok"))
        if state.report_file is not None:
            blocks.append(alert("Report written", str(state.report_file), tone="ok"))
        if state.kept is not None:
            blocks.append(alert("Session saved", f"{state.kept}; open it like a model to go on with it.", tone="ok"))
        self.written.put(*(blocks or [text("Nothing has been written yet.", "neutral")]))

    def _propose(self, model: Model | None) -> None:
        if model is None:
            self.form.options, self.path.value = (), ""
            return
        suffixes = forms(model.format)
        self.form.options = suffixes
        origin = self.session.state.origin
        stem = default_stem(origin.name if origin else model.name)
        source = self.session.model
        if source is not None and source.format == model.format:
            stem += "-converted"
        self.path.value = stem + (suffixes[0] if suffixes else "")
        self.report_path.value = f"{stem}-{model.format}-report.html"
        self.session_path.value = f"{stem}-{model.format}{SUFFIX}"
        if suffixes:
            self.form.value = suffixes[0]

    def static_html(self) -> str:
        return self.written.static_html()


def forms(target: str) -> tuple[str, ...]:
    """The suffixes that a model of the format can be written to."""
    known = all_formats().get(target)
    return FORMS.get(target) or (known.suffixes[:1] if known is not None else ())


def _stem(path: str) -> str:
    """The path without a suffix that names a model format."""
    suffixes = sorted((s for known in all_formats().values() for s in known.suffixes), key=len, reverse=True)
    return next((path[: -len(suffix)] for suffix in suffixes if path.lower().endswith(suffix)), path)


def default_stem(name: str) -> str:
    """A file name without suffix, made from a model's name, which may hold anything."""
    last = _stem(re.split(r"[/\\]", name)[-1])
    return re.sub(r"[^\w.\- ]", "_", last).strip(". ")[:80] or "model"


def bytes_at(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(bytes_at(Path(entry.path)) for entry in os.scandir(path))
    return path.stat().st_size if path.exists() else 0
