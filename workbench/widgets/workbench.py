"""The whole workbench: five steps over one session."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets

from workbench.errors import OptionError
from workbench.session import STEPS, Failure, Session
from workbench.widgets.base import Panel, row, show, stack
from workbench.widgets.compare_step import Compare
from workbench.widgets.content import Content, code, failure_alert
from workbench.widgets.convert_step import Convert
from workbench.widgets.export_step import Export
from workbench.widgets.history import History
from workbench.widgets.import_step import Import
from workbench.widgets.inspect_step import Inspect
from workbench.widgets.step import Status, Step
from workbench.widgets.step_bar import StepBar
from workbench.widgets.text import escape

if TYPE_CHECKING:
    from workbench.compare import Counterfactual

TITLES = {"import": "Import", "inspect": "Inspect", "convert": "Convert", "compare": "Compare", "export": "Export"}


class Workbench(Panel):
    """Import → Inspect → Convert → Compare → Export, as a widget.

    Every click has a method that does the same at once and raises what goes wrong; whatever way it was done, the widget
    shows it. Its parts are there for more: :attr:`steps` by name, :attr:`session`, :attr:`widget`.

    Args:
        source: a path or a live object to open, or the path of a saved session to go on with. If that fails, the
            widget shows why.
        session: a session to go on with.

    Raises:
        OptionError: another argument was given.
    """

    def __init__(self, source: object | None = None, *, session: Session | None = None, **unknown: Any) -> None:
        for name in unknown:
            near = difflib.get_close_matches(name, ["source", "session"], n=1, cutoff=0.7)
            hint = f" Did you mean {near[0]!r}?" if near else " Options of a conversion go to .convert(…)."
            raise OptionError(f"Workbench takes source and session, not {name!r}.{hint}")
        super().__init__(session)
        if source is not None:
            self.session.start("open", source=source).wait()
        shared = self.session
        self.bar = StepBar()
        self.steps: dict[str, Step] = {
            "import": Import(shared),
            "inspect": Inspect(shared),
            "convert": Convert(shared),
            "compare": Compare(shared),
            "export": Export(shared),
        }
        self.status = Status(shared)
        self.next_button = ipywidgets.Button(description="Next")
        self.code_button = ipywidgets.ToggleButton(
            description="Show as code",
            tooltip="The Python for what has been done so far, and all that was tried",
            value=False,
        )
        self.code_view = Content()
        self.tried = History(shared)
        for name, step in self.steps.items():
            step.widget.add_class(f"wb-step-{name}")
        self.widget = stack(
            self.bar,
            self.status.widget,
            *(self.steps[name].widget for name in STEPS),
            row(self.next_button, self.code_button),
            self.code_view,
            self.tried.widget,
            name="wb-workbench",
        )
        self._models: tuple[object, object] = (None, None)
        self.next_button.on_click(lambda _: self.go(self._following()))
        self.code_button.observe(lambda change: self.refresh(), names="value")
        self.bar.observe(lambda change: self._turn_to(change["new"]), names="current")
        self._turn_to(self.bar.current)
        self.watch()

    # Every click as a method

    def open(self, source: object, **options: Any) -> Workbench:
        """Open a model: a path or a live object."""
        return self._do(lambda: self.session.open(source, **options), "inspect")

    def plan(self, target: str, /, **options: Any) -> Any:
        """Plan a conversion and show it; returns the plan."""
        self.go("convert")
        return self.session.plan(target, **options)

    def convert(self, target: str | None = None, /, **options: Any) -> Workbench:
        """Convert; without a target, as it was planned last."""
        return self._do(lambda: self.session.convert(target, **options), "convert")

    def compare(self, **arguments: Any) -> Workbench:
        """Compare layer by layer, with the arguments of :func:`workbench.compare`."""
        return self._do(lambda: self.session.compare(**arguments), "compare")

    def counterfactual(self, layers: Sequence[str | int], *, fed: bool = False) -> Counterfactual:
        """The outputs if these layers were right; returns them."""
        self.go("compare")
        return self.session.counterfactual(layers, fed=fed)

    def smallest_correction(self) -> Counterfactual:
        """The fewest layers whose correction makes all outputs ok; returns them."""
        self.go("compare")
        return self.session.smallest_correction()

    def repro(self, layer: str | int, folder: str | Path) -> Path:
        """Write a folder that shows one layer's difference; returns where it is."""
        self.go("compare")
        return self.session.repro(layer, folder)

    def record(self, path: str | Path, side: str = "converted", **arguments: Any) -> Path:
        """Keep the tensors of one side in a file that can stand for it; returns where it is."""
        return self.session.record(path, side, **arguments)

    def select(self, layer: str | int | None) -> Workbench:
        """Choose a layer: its tensors in Compare once there is a report, else its description in Inspect."""
        name = "compare" if self.session.report is not None else "inspect"
        step = self.steps[name]
        assert isinstance(step, Compare | Inspect)
        return self._do(lambda: step.select(layer), name)

    def export(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the converted model; returns where it is."""
        self.go("export")
        return self.session.export(path, overwrite)

    def save_session(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the steps taken so far; ``wb.Workbench(path)`` goes on with them. Returns where the file is."""
        return self.session.save(path, overwrite)

    def cancel(self) -> bool:
        """End the work that runs; whether there was any."""
        return self.session.cancel()

    def show_code(self) -> str:
        """Show the Python for what has been done so far, and return it."""
        self.code_button.value = True
        return self.session.code()

    def go(self, step: str) -> Workbench:
        """Turn to a step by its name."""
        if step not in STEPS:
            raise OptionError(f"there is no step {step!r}; there are {', '.join(STEPS)}.")
        self.bar.current = step
        return self

    def _do(self, work: Callable[[], object], step: str) -> Workbench:
        work()
        return self.go(step)

    # What the session says

    def draw(self) -> None:
        try:
            self._draw()
        except Exception as error:  # a defect of a view must be seen in the view
            self.status.message.put(failure_alert(Failure("display", error)))
            raise

    def _draw(self) -> None:
        state = self.session.state
        self.bar.steps = [[name, TITLES[name], self._standing(name)] for name in STEPS]
        self.code_view.put(code(self.session.code()) if self.code_button.value else None)
        show(self.tried.widget, self.code_button.value)
        models = (state.model, state.converted)
        if models[0] is not self._models[0] and models[0] is not None:
            self.bar.current = "inspect"
        self._models = models
        if not state.allows(self.bar.current):
            self.bar.current = "import"
        self._draw_next()

    def _following(self) -> str:
        return STEPS[min(STEPS.index(self.bar.current) + 1, len(STEPS) - 1)]

    def _draw_next(self) -> None:
        following = self._following()
        self.next_button.description = f"Next: {TITLES[following]}"
        state = self.session.state
        waits = following == "compare" and state.converted is None
        self.next_button.disabled = waits or not state.allows(following)
        show(self.next_button, following != self.bar.current)

    def _standing(self, name: str) -> str:
        """Whether a step is ``locked``, ``open``, ``done`` or ``failed``."""
        state = self.session.state
        steps = {"open": "import", "plan": "convert", "export_report": "export", "save": "export"}
        steps |= dict.fromkeys(("counterfactual", "smallest_correction", "repro", "record"), "compare")
        failure = state.failure
        if failure is not None and not failure.cancelled and steps.get(failure.step, failure.step) == name:
            return "failed"
        done: dict[str, object] = {"import": state.model, "inspect": state.model, "convert": state.converted}
        done |= {"compare": state.report, "export": state.exported}
        if done[name] is not None:
            return "done"
        return "open" if state.allows(name) else "locked"

    def _turn_to(self, current: str) -> None:
        for name in STEPS:
            show(self.steps[name].widget, name == current)
        self._draw_next()

    def static_html(self) -> str:
        state = self.session.state
        done = [name for name in STEPS if state.allows(name)] if state.model is not None else ["import"]
        failure = "" if state.failure is None else self.status.static_html()
        parts = "".join(
            f"<h3>{escape(TITLES[name])}</h3>{self.steps[name].static_html()}" for name in done if name != "import"
        )
        return f"<div><h2>Conversion workbench</h2>{failure}{parts}</div>"
