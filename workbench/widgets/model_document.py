"""A model as a document of its own: what a double click in JupyterLab's file browser shows."""

from __future__ import annotations

import ipywidgets

from workbench.session import Session
from workbench.widgets.base import Panel, show, stack
from workbench.widgets.content import Content, failure_alert, progress
from workbench.widgets.inspect_step import Inspect


class ModelDocument(Panel):
    """The Inspect step on a model that opens in the background; if it cannot be read, why.

    All its parts are own views and boxes, which JupyterLab's document of a model can show without a notebook.

    Args:
        source: the path of the model.
    """

    def __init__(self, source: str, session: Session | None = None) -> None:
        super().__init__(session)
        self.message = Content()
        self.inspect = Inspect(self.session)
        self.widget = ipywidgets.VBox([stack(self.message, self.inspect.widget)])
        self.watch()
        self.session.start("open", source=source)

    def draw(self) -> None:
        failure, task = self.session.state.failure, self.session.task
        if failure is not None:
            self.message.put(failure_alert(failure))
        else:
            self.message.put(None if task is None else progress(task))
        show(self.inspect.widget, self.session.model is not None)

    def static_html(self) -> str:
        return self.message.static_html() + self.inspect.static_html()
