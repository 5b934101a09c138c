"""What was tried in a session, and the way back to it."""

from __future__ import annotations

import ipywidgets

from workbench.session import Session
from workbench.widgets.base import Panel, row, stack
from workbench.widgets.layer_table import Column, LayerTable

COLUMNS = (
    Column("step", width="1.3fr"),
    Column("with", width="2.4fr"),
    Column("outcome", kind="prose", width="2fr"),
    Column("result", width="0.7fr", tones={"ok": "ok", "failed": "bad"}),
)


class History(Panel):
    """Lists the attempts of the session; the chosen one can be made again, with what it was given then."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self.table = LayerTable(COLUMNS, label="What was tried", height=182)
        self.button = ipywidgets.Button(
            description="Take this step again", layout={"width": "auto"}, tooltip="Go back to the chosen entry"
        )
        self.widget = stack(self.table, row(self.button))
        self.table.observe(lambda change: self._allow(), names="selected")
        self.button.on_click(lambda _: self._again())
        self.watch()

    def draw(self) -> None:
        self.table.put(
            [
                (
                    attempt.step,
                    ", ".join(f"{name}={value!r}" for name, value in attempt.arguments.items() if value),
                    attempt.outcome,
                    "ok" if attempt.ok else "failed",
                )
                for attempt in self.session.history
            ]
        )
        self._allow()

    def _allow(self) -> None:
        chosen, history = self.table.selected, self.session.history
        whole = 0 <= chosen < len(history) and history[chosen].whole
        self.button.disabled = self.session.busy or not whole

    def _again(self) -> None:
        step, arguments = self.session.step_again(self.table.selected)
        self.session.start(step, **arguments)

    def static_html(self) -> str:
        return self.table.static_html()
