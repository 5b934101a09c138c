"""Step 1: a model comes in, by upload, by its path, or as a live object."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import ipywidgets

from workbench.formats import all_formats
from workbench.session import SUFFIX, Session, Upload
from workbench.widgets.base import row, stack
from workbench.widgets.content import Content, facts, text
from workbench.widgets.path_field import PathField
from workbench.widgets.step import Step
from workbench.widgets.upload_button import UploadButton

MAX_SUGGESTIONS = 200


def suggestions(typed: str, suffixes: tuple[str, ...]) -> list[str]:
    """Paths that continue what was typed: folders (with a ``/`` at the end) and files or folders that are models.

    Never raises: an unreadable folder has no suggestions.
    """
    head, _, tail = typed.replace(os.sep, "/").rpartition("/")
    prefix = f"{head}/" if "/" in typed.replace(os.sep, "/") else ""
    folder = Path(os.path.expanduser(prefix or "."))
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if not name.lower().startswith(tail.lower()) or (name.startswith(".") and not tail):
                    continue
                if name.lower().endswith(suffixes):
                    found.append(f"{prefix}{name}")
                elif entry.is_dir():
                    found.append(f"{prefix}{name}/")
    except (OSError, ValueError):
        return []
    return sorted(found, key=lambda path: (path.endswith("/"), path.lower()))[:MAX_SUGGESTIONS]


class Import(Step):
    """Opens a model into the session. ``open(path or live object)`` does what the button does."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        models = tuple(suffix for known in all_formats().values() for suffix in known.suffixes)
        self._suffixes = (*models, SUFFIX)
        self.upload = UploadButton(self._uploaded, (*models, ".zip"))
        self.path = PathField(
            self._open_typed,
            description="Path",
            placeholder="path of a model, or of a saved session",
            options=suggestions("", self._suffixes),
        )
        self.button = ipywidgets.Button(description="Open", button_style="primary")
        self.current = Content(live=True)
        self._uploads: dict[object, Upload] = {}  # by path: those that no model was made of yet
        self.widget = stack(
            self.upload,
            row(self.path, self.button),
            self.current,
        )
        self.button.on_click(lambda _: self._open_typed())
        self.when(self.path, "value", self._complete)
        self.watch()

    def open(self, source: object, **options: Any) -> object:
        """Open a path or a live object now; raises what goes wrong."""
        return self.session.open(source, **options)

    def _complete(self, typed: str) -> None:
        options = tuple(suggestions(typed, self._suffixes))
        if options != self.path.options:
            self.path.options = options

    def _open_typed(self) -> None:
        typed = self.path.value.strip()
        if typed:
            self.session.start("open", source=os.path.expanduser(typed))

    def _uploaded(self, upload: Upload) -> None:
        path = upload.finish()
        self._uploads[path] = upload
        self.session.start("open", source=path, name=path.name, uploaded=True)

    def _settle_uploads(self) -> None:
        """The file that became the open model lives as long as that, others go."""
        origin, model = self.session.state.origin, self.session.model
        opened = None if origin is None else origin.value
        for path, upload in self._uploads.items():
            if model is not None and path == opened:
                weakref.finalize(model.document, upload.discard)
            else:
                upload.discard()
        self._uploads.clear()

    def draw(self) -> None:
        origin, model = self.session.state.origin, self.session.model
        self.button.disabled = self.session.busy
        if not self.session.busy:
            self._settle_uploads()
        if origin is None or model is None:
            self.current.put(text("From Python: .open(model) takes a path or a live object.", "neutral"))
        else:
            how = "uploaded" if origin.uploaded else "file" if origin.is_path else type(origin.value).__name__
            self.current.put(facts(("open", f"{origin.name} ({how})"), ("format", model.format)))

    def static_html(self) -> str:
        return self.current.static_html()
