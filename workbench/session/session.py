"""The session: the state of one conversion, and the steps that change it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import Cancelled, ModelError, WorkbenchError
from workbench.session import findings, keeping
from workbench.session.code import code_of
from workbench.session.state import Attempt, Failure, Origin, State
from workbench.session.task import Task, in_turn

if TYPE_CHECKING:
    from workbench.compare import Counterfactual, Report
    from workbench.model import Model
    from workbench.plan import Plan

Listener = Callable[[], None]
Step = Callable[[Task], tuple[Any, dict[str, Any], str]]
"""The work of a step: its result, the fields of the state that it changes, and a line for the history."""


class Session:
    """One model on its way: import → inspect → convert → compare → export.

    Every step is a method that does the work at once and raises what goes wrong. :meth:`start` does the same on a
    worker thread. Either way the outcome is in :attr:`state`, errors included. Safe to use from several threads.

    Args:
        source: opened at once, if given.
        load: stands in for :func:`workbench.load`.
        compare: stands in for :func:`workbench.compare`.
    """

    def __init__(
        self,
        source: object | None = None,
        *,
        load: Callable[..., Model] | None = None,
        compare: Callable[..., Report] | None = None,
    ) -> None:
        self._load = load or _load
        self._compare = compare or _compare
        self._lock = threading.RLock()
        self._state = State()
        self._task: Task | None = None
        self._listeners: list[Listener] = []
        if source is not None:
            self.open(source)

    @classmethod
    def load(cls, path: str | Path, *, source: object | None = None) -> Session:
        """A session that was saved: its steps are taken again.

        Args:
            path: what :meth:`save` wrote.
            source: the model, if it is not where it was, or was no file.

        Raises:
            WorkbenchError: it is no such file, its model is not what it was, or a step fails.
        """
        session = cls()
        session._now("open", source=Path(path), model=source)
        return session

    # What there is

    @property
    def state(self) -> State:
        """The values of this moment."""
        return self._state

    @property
    def model(self) -> Model | None:
        """The model that was opened."""
        return self._state.model

    @property
    def converted(self) -> Model | None:
        """The converted model."""
        return self._state.converted

    @property
    def report(self) -> Report | None:
        """The comparison of the two."""
        return self._state.report

    @property
    def history(self) -> tuple[Attempt, ...]:
        """Everything that was tried, in order."""
        return self._state.history

    @property
    def task(self) -> Task | None:
        """The work that runs at this moment."""
        task = self._task
        return None if task is None or task.done else task

    @property
    def busy(self) -> bool:
        """Whether a step runs."""
        return self.task is not None

    def code(self) -> str:
        """Runnable Python that does what has been done so far."""
        return code_of(self._state)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener()`` after every change, on the thread that made it; returns what ends that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    # The steps

    def open(self, source: object, *, name: str | None = None, uploaded: bool = False, **options: Any) -> Model:
        """Import a model: a path or a live object, as :func:`workbench.load` takes it. Everything else is reset.

        Args:
            source: what to open.
            name: how it is called on display; by default the name of the file or of the model.
            uploaded: whether ``source`` is a temporary file that came through a browser.
            options: those of :func:`workbench.load` (``example_inputs`` for PyTorch).

        Raises:
            WorkbenchError: it cannot be read; the session stays as it was.
        """
        return self._now("open", source=source, name=name, uploaded=uploaded, **options)  # type: ignore[no-any-return]

    def plan(self, target: str, /, **options: Any) -> Plan:
        """Say layer by layer what a conversion would do.

        Raises:
            WorkbenchError: an option or a shape does not fit.
        """
        return self._now("plan", to=target, **options)  # type: ignore[no-any-return]

    def convert(self, target: str | None = None, /, **options: Any) -> Model:
        """Convert the model; without a target, as it was planned last.

        Raises:
            ConversionError: with all refusals.
        """
        return self._now("convert", to=target, **options)  # type: ignore[no-any-return]

    def compare(self, **arguments: Any) -> Report:
        """Compare the converted model with its source; the arguments are those of :func:`workbench.compare`.

        ``reference`` and ``target`` are paths here: of a recording, or of another model, that takes the place of the
        source or of the converted model.
        """
        return self._now("compare", **arguments)  # type: ignore[no-any-return]

    def counterfactual(self, layers: Sequence[str | int], *, fed: bool = False) -> Counterfactual:
        """What the outputs were if these layers were right (:meth:`workbench.compare.Report.counterfactual`)."""
        return self._now("counterfactual", layers=list(layers), fed=fed)  # type: ignore[no-any-return]

    def smallest_correction(self) -> Counterfactual:
        """The fewest layers whose correction makes all outputs ok."""
        return self._now("smallest_correction")  # type: ignore[no-any-return]

    def repro(self, layer: str | int, folder: str | Path) -> Path:
        """Write a folder that shows the difference of one row of the report; returns where it is.

        Args:
            layer: the name of its layer or tensor, or its index.
            folder: where to; nothing may be there.
        """
        return self._now("repro", layer=layer, folder=folder)  # type: ignore[no-any-return]

    def record(self, path: str | Path, side: str = "converted", **arguments: Any) -> Path:
        """Keep the tensors of one of the two models in a file that can stand for it; returns where it is.

        Args:
            path: where to.
            side: ``"source"`` or ``"converted"``.
            arguments: those of :func:`workbench.record`.
        """
        return self._now("record", path=path, side=side, **arguments)  # type: ignore[no-any-return]

    def export(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the converted model; returns where it is.

        Raises:
            SaveError: there is something at the path, or it cannot be written.
        """
        return self._now("export", path=path, overwrite=overwrite)  # type: ignore[no-any-return]

    def export_report(self, path: str | Path) -> Path:
        """Write the comparison as a stand-alone HTML file; returns where it is."""
        return self._now("export_report", path=path)  # type: ignore[no-any-return]

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the steps taken so far, to be gone on with after a restart (:meth:`load`); returns where it is.

        The file holds no model: conversions are exact, so the same steps make the same models again.

        Raises:
            SaveError: there is a file at the path, nothing to save, or feeds that cannot be written down.
        """
        return self._now("save", path=path, overwrite=overwrite)  # type: ignore[no-any-return]

    def again(self, attempt: int) -> Any:
        """Go back to an entry of :attr:`history`: take that step again with what it was given; returns its result.

        Raises:
            WorkbenchError: it was given what the history does not keep (arrays, live objects), or it fails.
        """
        step, arguments = self.step_again(attempt)
        return self._now(step, **arguments)

    def step_again(self, attempt: int) -> tuple[str, dict[str, Any]]:
        """The step and the arguments of an entry of :attr:`history`, for :meth:`start`.

        Raises:
            WorkbenchError: there is no such entry, or it was given what the history does not keep.
        """
        history = self._state.history
        if not 0 <= attempt < len(history):
            raise WorkbenchError(f"the history has no entry {attempt}; it has {len(history)}.")
        found = history[attempt]
        if not found.whole:
            raise WorkbenchError(f"entry {attempt} ({found.step}) was given what the history does not keep.")
        return found.step, dict(found.arguments)

    def start(self, step: str, **arguments: Any) -> Task:
        """Take a step (the name of a method) on a worker thread. Work that runs already is cancelled: the newest wins.

        Raises:
            WorkbenchError: a file is being written, which is not cut short.
        """
        work, cancellable = self._work_of(step, arguments)
        task = Task(step, self._notify, cancellable=cancellable)
        thread = threading.Thread(
            target=self._perform, args=(task, work, arguments), name=f"workbench-{step}", daemon=True
        )
        with self._beginning(task):
            thread.start()
        return task

    def cancel(self) -> bool:
        """End the running step; whether there was one that could be ended. Returns at once."""
        with self._lock:
            task = self.task
            if task is None or not task.cancellable:
                return False
            task.cancel()
            self._task = None
            self._state = replace(self._state, failure=Failure(task.step, Cancelled(f"{task.step} was cancelled.")))
        self._notify()
        return True

    def dismiss(self) -> None:
        """Forget the last failure."""
        with self._lock:
            self._state = replace(self._state, failure=None)
        self._notify()

    # How a step is taken

    def _now(self, step: str, **arguments: Any) -> Any:
        work, cancellable = self._work_of(step, arguments)
        task = Task(step, self._notify, cancellable=cancellable)
        with self._beginning(task):
            self._perform(task, work, arguments)
        return task.result()

    def _work_of(self, step: str, arguments: Mapping[str, Any]) -> tuple[Step, bool]:
        """The work of a step, with its arguments bound, and whether it may be cancelled half-way."""
        steps: dict[str, tuple[Callable[..., Any], bool]] = {
            "open": (self._open, True),
            "plan": (self._plan, True),
            "convert": (self._convert, True),
            "compare": (self._compare_models, True),
            "counterfactual": (self._with_state(findings.counterfactual), True),
            "smallest_correction": (self._with_state(findings.smallest_correction), True),
            "repro": (self._with_state(findings.repro), False),
            "record": (self._with_state(findings.record), True),
            "export": (self._export, False),
            "export_report": (self._export_report, False),
            "save": (self._save, False),
        }
        if step not in steps:
            raise WorkbenchError(f"a session has no step {step!r}; there are {', '.join(steps)}.")
        function, cancellable = steps[step]
        return lambda task: function(task, **arguments), cancellable

    @contextlib.contextmanager
    def _beginning(self, task: Task) -> Iterator[None]:
        """Make the task the one that runs; if the block is left before its work has begun (Ctrl-C), it has failed."""
        try:
            with self._lock:
                running = self.task
                if running is not None and not running.cancellable:
                    raise WorkbenchError(
                        f"{running.step} is writing a file; wait until it is done, then {task.step} again."
                    )
                if running is not None:
                    running.cancel()
                self._task = task
                self._state = replace(self._state, failure=None)
            self._notify()
            yield
        except BaseException as error:
            if self._task is task:
                self._fail(task, error, {})
                task.cancel()
            raise

    def _perform(self, task: Task, work: Step, arguments: Mapping[str, Any]) -> None:
        result, failure = None, None
        try:
            with in_turn(task):
                result, changes, outcome = work(task)
            given = changes.pop("given", arguments)
            self._commit(task, changes, keeping.attempt_of(task.step, given, outcome, ok=True))
        except BaseException as error:
            failure = error
            self._fail(task, error, arguments)
            if not isinstance(error, Exception):  # Ctrl-C in a step that was called from Python
                raise
        finally:
            try:
                self._notify()  # first, so that whoever waits for the task finds everything drawn
            finally:
                task.finish(result, failure)

    def _commit(self, task: Task, changes: dict[str, Any], attempt: Attempt) -> None:
        with self._lock:
            task.check()
            earlier = (*self._state.history, *changes.pop("earlier", ()))
            self._state = replace(self._state, **changes, history=(*earlier, attempt))
            if self._task is task:
                self._task = None

    def _fail(self, task: Task, error: BaseException, arguments: Mapping[str, Any]) -> None:
        with self._lock:
            current = self._task is task
            if current:
                self._task = None
            if current or not task.cancelled:
                failure = Failure(task.step, error)
                attempt = keeping.attempt_of(task.step, arguments, failure.message, ok=False)
                self._state = replace(self._state, failure=failure, history=(*self._state.history, attempt))

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    # What the steps do

    def _with_state(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step on the state of the moment when its turn has come."""
        return lambda task, **arguments: step(self._state, task, **arguments)

    def _open(
        self, task: Task, source: object, name: str | None = None, uploaded: bool = False, **options: Any
    ) -> tuple[Any, dict[str, Any], str]:
        if keeping.is_session(source):
            return self._reopen(task, Path(os.path.expanduser(str(source))), **options)
        task.progress("reading", 0.0)
        try:
            model = self._load(source, **options)
        except ModelError as error:
            if not uploaded:
                raise  # else the name that the user knows, not that of a temporary file
            raise type(error)(str(error).replace(str(source), name or "upload")) from error
        shown = name or (Path(source).name if isinstance(source, str | Path) else model.name)
        outcome = f"{model.format}, {len(model.layers)} layers"
        document = getattr(model, "document", None)  # a Model that was read from a file is known by its file
        given = getattr(document, "origin", None) or source if source is model else source
        options = options or dict(getattr(document, "read_options", {}))
        fresh = State(origin=Origin(given, shown, uploaded, options), model=model)
        changes = {field: getattr(fresh, field) for field in fresh.__dataclass_fields__ if field != "history"}
        return model, changes, outcome

    def _reopen(self, task: Task, path: Path, model: object | None = None) -> tuple[Any, dict[str, Any], str]:
        """Take the steps of a saved session; all of it is in place at the end, or nothing has changed."""
        kept = keeping.load(path)
        source = keeping.check_source(kept) if model is None else model
        with keeping.taken_again("open", path):
            opened, changes, _ = self._open(task, source, None if model is not None else kept.name, **kept.options)
        before = Session(load=self._load, compare=self._compare)
        before._state = State(**changes)
        for step, arguments in kept.steps.items():
            work, _ = before._work_of(step, arguments)
            with keeping.taken_again(step, path):
                _, more, _ = work(task)
            more.pop("given", None)
            changes |= more
            before._state = replace(before._state, **more)
        return opened, {**changes, "earlier": kept.history}, f"{path.name}: {', '.join(('open', *kept.steps))}"

    def _plan(self, task: Task, to: str, **options: Any) -> Any:
        model = self._state.need("model", "plan", "open a model")
        task.progress("planning", 0.0)
        options = model.settle(to, **options)
        plan = model.plan(to, progress=task.progress, **options)
        return plan, {"plan": plan, "target": to, "options": options}, plan.summary()

    def _convert(self, task: Task, to: str | None = None, **options: Any) -> Any:
        model = self._state.need("model", "convert", "open a model")
        if to is None:
            to = self._state.need("target", "convert", "plan for a target")
            options = {**self._state.options, **options}
        options = model.settle(to, **options)
        converted = model.convert(to, progress=task.progress, **options)
        changes = {
            "target": to,
            "options": options,
            "converted": converted,
            "converted_to": to,
            "converted_with": options,
            "given": {"to": to, **options},
            "exported": None,
            **findings.NONE,
            "recorded": None,
        }
        plan = self._state.plan
        if plan is not None and (plan.target_format != to or dict(self._state.options) != options):
            changes["plan"] = None  # it spoke of another conversion
        return converted, changes, f"{len(converted.layers)} layers"

    def _compare_models(self, task: Task, **arguments: Any) -> Any:
        sides, options = findings.sides_of(self._state, arguments)
        report = self._compare(*sides, progress=task.progress, **options)
        changes = {**findings.NONE, "report": report, "compared_with": arguments}
        return report, changes, "within tolerance" if report.ok else "beyond tolerance"

    def _export(self, task: Task, path: str | Path, overwrite: bool = False) -> Any:
        converted = self._state.need("converted", "export", "convert the model")
        task.progress("writing", 0.0)
        written = Path(converted.save(Path(os.path.expanduser(path)), overwrite=overwrite))
        return written, {"exported": written, "overwritten": overwrite}, str(written)

    def _export_report(self, task: Task, path: str | Path) -> Any:
        report = self._state.need("report", "export_report", "compare the models")
        task.progress("writing", 0.0)
        written = Path(os.path.expanduser(path))
        report.to_html(written)
        return written, {"report_file": written}, str(written)

    def _save(self, task: Task, path: str | Path, overwrite: bool = False) -> Any:
        task.progress("writing", 0.0)
        written = keeping.save(self._state, Path(os.path.expanduser(path)), overwrite)
        return written, {"kept": written}, str(written)

    def __repr__(self) -> str:
        origin = self._state.origin
        return f"Session({origin.name!r}, {self._state.reached()})" if origin else "Session(empty)"


def _load(source: Any, **options: Any) -> Model:
    from workbench.model import load

    return load(source, **options)


def _compare(reference: Model, target: Model, **arguments: Any) -> Report:
    from workbench.compare import compare

    return compare(reference, target, **arguments)
