"""What stands for a side of the comparison, what is fed, and the recording of a side."""

from __future__ import annotations

from typing import Any

import ipywidgets

from workbench.errors import OptionError
from workbench.session import Session
from workbench.widgets.base import Panel, row, stack, text_field
from workbench.widgets.content import Content, alert, facts
from workbench.widgets.text import shown


class Recordings(Panel):
    """A recording (made on a Mac, say) or another model as one side. ``session.record()`` does what the button does."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self.fields = {
            "reference": text_field("Instead of the source", "path of a recording or of a model"),
            "target": text_field("Instead of the converted model", "path of a recording or of a model"),
            "feeds": text_field("Feeds", "path: .npz, .npy, a picture, or a folder of them; random without"),
            "tolerance": text_field("Tolerance", "relative; by operator and precision without"),
        }
        self.side = ipywidgets.Dropdown(
            options=(("the source", "source"), ("the converted model", "converted")),
            description="Record",
            layout={"width": "auto"},
        )
        self.path = text_field("To", "path of the new recording")
        self.button = ipywidgets.Button(description="Record", tooltip="Keep the tensors of this side in a file")
        self.outcome = Content(live=True)
        sides = (self.fields["reference"], self.fields["target"])
        self.widget = stack(
            row(*sides),
            row(self.fields["feeds"], self.fields["tolerance"]),
            row(self.side, self.path, self.button),
            self.outcome,
            name="wb-indent",
        )
        self.button.on_click(lambda _: self._record())
        self.watch()

    def arguments(self) -> dict[str, Any]:
        """What the fields say, for ``session.compare``.

        Raises:
            OptionError: the tolerance is no number.
        """
        typed = {name: field.value.strip() for name, field in self.fields.items()}
        found: dict[str, Any] = {name: value for name, value in typed.items() if value}
        if "tolerance" in found:
            try:
                found["tolerance"] = float(found["tolerance"])
            except ValueError:
                raise OptionError(
                    f"tolerance: {shown(found['tolerance'])!r} is no number; give one like 1e-4."
                ) from None
        return found

    def _record(self) -> None:
        path, feeds = self.path.value.strip(), self.fields["feeds"].value.strip()
        if not path:
            self.outcome.put(
                alert("No path", "Say in the field before the button where the recording is to be written.")
            )
            return
        self.session.start("record", path=path, side=self.side.value, **({"feeds": feeds} if feeds else {}))

    def draw(self) -> None:
        state = self.session.state
        self.button.disabled = self.session.busy or state.model is None
        if state.recorded is not None:
            self.outcome.put(facts((f"recording of {state.recorded_with['side']}", state.recorded)))
        else:
            self.outcome.put()
