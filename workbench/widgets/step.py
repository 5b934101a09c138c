"""A step as a widget of its own: what it shows in the workbench, and above it how the session's work goes."""

from __future__ import annotations

from typing import Any

import ipywidgets

from workbench.session import Session
from workbench.widgets.base import Panel, row, show, stack
from workbench.widgets.content import Content, failure_alert, progress


class Status(Panel):
    """What went wrong last, and the work that runs, with a button to end it."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self.message = Content()
        self.progress = Content()
        self.cancel_button = ipywidgets.Button(description="Cancel", tooltip="End the work that runs")
        self.running = row(self.progress, self.cancel_button, name="wb-progress")
        self.widget = stack(self.message, self.running)
        self.cancel_button.on_click(lambda _: self.session.cancel())
        self.watch()

    def draw(self) -> None:
        failure, task = self.session.state.failure, self.session.task
        self.message.put(None if failure is None else failure_alert(failure))
        self.progress.put(None if task is None else progress(task))
        self.cancel_button.disabled = task is not None and not task.cancellable
        show(self.running, task is not None)

    def static_html(self) -> str:
        return self.message.static_html()


class Step(Panel):
    """One of the five. Shown by itself it comes with its :class:`Status`; within the workbench that has one for all."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self._alone: ipywidgets.VBox | None = None
        self.status: Status | None = None

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._alone is None:
            self.status = Status(self.session)
            self._alone = stack(self.status.widget, self.widget, name="wb-workbench")
        return self.bundle(self._alone, **kwargs)
