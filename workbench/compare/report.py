"""What a comparison found: rows, verdict, and the ways to show and keep them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare import render, storage, wording
from workbench.compare.counterfactual import Corrector, Counterfactual
from workbench.compare.diagnose import with_signature
from workbench.compare.page import page as render_page
from workbench.compare.ranking import find, ranked, severity
from workbench.compare.rows import Row
from workbench.errors import OptionError, WorkbenchError
from workbench.files import replacing

if TYPE_CHECKING:
    import pandas

    from workbench.compare.detail import Detail
    from workbench.compare.given import Given
    from workbench.compare.recompute import Source
    from workbench.model import Model
    from workbench.plots.namespace import Plots

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Side:
    """One of the two models, as far as a report has to name it.

    ``executor`` says what made its tensors; ``precision`` what is to be known about its arithmetic.
    """

    name: str
    format: str
    executor: str
    precision: str = ""


@dataclass(frozen=True)
class Report:
    """A comparison of two models, tensor by tensor.

    Attributes:
        reference: the model that is right; ``target`` the one that is judged.
        rows: one for each tensor of the reference, in its topological order.
        mode: ``"both"``, ``"accumulated"`` or ``"isolated"``.
        samples: how many samples were compared.
        feeds: what they were, for people (``"random, seed 0"``).
        relation: how the tensors were matched.
        notes: what else is to be known (tapping that changed an output).
    """

    reference: Side
    target: Side
    rows: tuple[Row, ...]
    mode: str = "both"
    samples: int = 1
    feeds: str = ""
    relation: str = ""
    notes: tuple[str, ...] = ()
    source: Source | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether every comparable tensor is within its tolerance and every output of the reference was compared."""
        missing = any(row.output and row.status in ("unmatched", "skipped") for row in self.rows)
        return not self.failing and not missing and any(row.status == "ok" for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def failing(self) -> tuple[Row, ...]:
        """The rows beyond their tolerance."""
        return tuple(row for row in self.rows if row.status == "failing")

    @property
    def first_failing(self) -> Row | None:
        """The first row that makes an error by itself; if none is known to, the first failing one."""
        return next((row for row in self.failing if row.blame == "own"), next(iter(self.failing), None))

    @property
    def first_bad(self) -> Row | None:
        """The first layer that makes an error: :attr:`first_failing` under the name that one looks for."""
        return self.first_failing

    def ranked(self) -> tuple[Row, ...]:
        """The failing rows that make an error, the worst first; where only accumulated errors are known, in order."""
        return ranked(self.rows, self.mode)

    def culprits(self, count: int = 5) -> tuple[Row, ...]:
        """The first of :meth:`ranked`, each with its signature: what the error looks like, and what to check.

        A report that was loaded from a file has the signatures that it was saved with.
        """
        source = self.source
        return tuple(
            row if row.signature is not None or source is None else with_signature(row, source)
            for row in self.ranked()[:count]
        )

    @property
    def outputs(self) -> tuple[Row, ...]:
        """The rows of the reference's outputs."""
        return tuple(row for row in self.rows if row.output)

    @property
    def approximations(self) -> tuple[str, ...]:
        """What the conversion has declared not to be exact: ``3 tensors: erf within 5e-7 absolute``."""
        return wording.approximations(self.rows)

    @property
    def executors(self) -> tuple[str, str]:
        """What made the reference's tensors, and what the target's."""
        return self.reference.executor, self.target.executor

    def worst(self, count: int = 10) -> tuple[Row, ...]:
        """The rows farthest beyond (or nearest to) their tolerance: by their own error where it was measured."""
        return tuple(sorted(self.rows, key=severity, reverse=True)[:count])

    def count(self, status: str) -> int:
        """Number of rows with that status."""
        return sum(row.status == status for row in self.rows)

    def tensors(self, row: Row | int | str, *, mode: str = "accumulated") -> tuple[Array, Array]:
        """The two tensors of a row in the first sample, side by side in one shape; recomputed, since none was kept.

        Args:
            row: the row, its index, or the name of its layer.
            mode: ``"accumulated"`` or ``"isolated"``.

        Raises:
            OptionError: there is no such row or mode.
            WorkbenchError: the row has no counterpart that it can be compared with, or the report was loaded from a
                file and has no models.
        """
        if mode not in ("accumulated", "isolated"):
            raise OptionError(f"unknown mode {mode!r}; there are accumulated, isolated.")
        chosen = self.row(row)
        if not chosen.target_tensor:
            raise WorkbenchError(f"{chosen.layer!r} has no tensor in the target: {chosen.reason}.")
        return self.require_models("see their tensors").tensors(chosen.tensor, chosen.target_tensor, mode=mode)

    def detail(self, row: Row | int | str, *, mode: str = "accumulated") -> Detail:
        """A summary of a row's two tensors for display: histograms, density, difference, worst elements.

        Raises:
            WorkbenchError: as :meth:`tensors`.
        """
        from workbench.compare.detail import summarize

        chosen = self.row(row)
        return summarize(*self.tensors(chosen, mode=mode), title=chosen.layer, mode=mode)

    def attach(self, reference: Model, target: Model, feeds: Given = None) -> Report:
        """This report with its two models, after it was loaded from a file.

        Args:
            reference: the same models that were compared; ``target`` likewise.
            feeds: what they were compared on; may be left out where that was random.

        Raises:
            OptionError: the feeds were given and are not given now, or these are other models.
        """
        from workbench.compare.run import attached

        return attached(self, reference, target, feeds)

    def require_models(self, purpose: str) -> Source:
        """The two models and what they were compared on.

        Args:
            purpose: what for, for the message.

        Raises:
            WorkbenchError: the report was loaded from a file and has none.
        """
        if self.source is None:
            raise WorkbenchError(
                f"this report was loaded from a file and has no models; report.attach(reference, target) gives it "
                f"those, or compare the models again, to {purpose}."
            )
        return self.source

    def counterfactual(
        self, layers: Iterable[str | int | Row] | str | int | Row, *, fed: bool = False
    ) -> Counterfactual:
        """The outputs of the first sample as they were if these layers computed what the reference computes.

        Args:
            layers: names of the reference's layers or tensors, rows, or their indices; one or several.
            fed: whether they give the reference's tensors, so that what came in wrong is right behind them as well.
                Without it they compute on what reaches them in the target: only their own error is gone.

        Raises:
            OptionError: there is no such layer, or it has no counterpart in the target.
            WorkbenchError: the report has no models, or no output has a counterpart.
        """
        corrector = Corrector(self.require_models("correct layers"), self.rows)
        rows = corrector.rows_of([layers] if isinstance(layers, str | int | Row) else layers)
        return corrector.feed(rows) if fed else corrector.correct(rows)

    def smallest_correction(self) -> Counterfactual:
        """The smallest set of layers that was found whose correction makes all outputs ok; none of it can be left out.

        It is empty where they are ok already, and the result is not ok where correcting all layers does not help.

        Raises:
            WorkbenchError: the report has no models, or no output has a counterpart.
        """
        return Corrector(self.require_models("correct layers"), self.rows).smallest(self.worst(len(self.rows)))

    def keep_fp32(self) -> tuple[str, ...]:
        """The layers to keep in float32 so that the outputs of a float16 model are ok, as few as were found to do.

        For ``convert("coreml", precision="mixed", keep_fp32=report.keep_fp32())``; compare again to know.

        Raises:
            OptionError: the target has no float16.
            WorkbenchError: the report has no models, no output has a counterpart, or no set of layers is enough.
        """
        if "float16" not in self.target.precision:
            raise OptionError(f"the target {self.target.name!r} does not compute in float16: there is nothing to keep.")
        found = self.smallest_correction()
        if not found.ok:
            raise WorkbenchError(f"float16 is not what is wrong, or not alone: {found}; look at report.worst().")
        return found.layers

    def repro(self, row: Row | int | str, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a folder that shows one row's difference without the workbench; returns where it is.

        In it are the reference's layer as ONNX and the target's in its own format, their inputs and outputs, a script
        that runs both with public packages, and a text for a bug report (see :mod:`workbench.compare.repro`).

        Args:
            row: the row, its index, or the name of its layer.
            folder: where to.
            overwrite: replace a repro that is there; no other folder is ever replaced.

        Raises:
            SaveError: there is something, or it cannot be written.
            WorkbenchError: the report has no models, or the layer cannot be fed the reference's tensors.
        """
        from workbench.compare.repro import write_repro

        models, path = self.require_models("write a part of them"), Path(os.path.expanduser(folder))
        return write_repro(self, models, self.row(row), path, overwrite=overwrite)

    def row(self, which: Row | int | str) -> Row:
        """A row by its index, or by the name of its layer or tensor.

        Raises:
            OptionError: there is none.
        """
        return find(self.rows, which)

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a pandas DataFrame.

        Raises:
            WorkbenchError: pandas is not installed.
        """
        return storage.frame(self.rows)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as JSON text, written to ``path`` as well if one is given (an existing file is replaced).

        Raises:
            SaveError: it cannot be written.
        """
        text = storage.to_json(self)
        if path is not None:
            _write(path, text)
        return text

    def to_html(self, path: str | os.PathLike[str], details: int = 8) -> Path:
        """Write a stand-alone page with linked views (an existing file is replaced); returns where it is.

        Args:
            path: where to.
            details: of how many rows, outputs and the worst ones first, the distributions of the tensors are in it;
                each is computed again. A report that was loaded from a file has none.

        Raises:
            SaveError: it cannot be written.
        """
        return _write(path, render_page(self, details))

    def to_model_explorer(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a folder of files for Model Explorer: both graphs, the errors as node data, and the mapping.

        Args:
            folder: where to.
            overwrite: replace such a folder that is there; no other is ever replaced.

        Raises:
            SaveError: there is something at the folder, or it cannot be written.
        """
        from workbench.compare.model_explorer import write_folder

        return write_folder(self, Path(os.path.expanduser(folder)), overwrite=overwrite)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Keep the report in a small file that :func:`load_report` opens without the models; returns where it is.

        Raises:
            SaveError: it cannot be written.
        """
        return _write(path, storage.to_json(self))

    @functools.cached_property
    def plot(self) -> Plots:
        """The report's figures: ``report.plot()`` is the profile of its errors, ``report.plot.histograms(row)`` and
        the like are those of a row, ``report.plot.graph()`` is both graphs (see :class:`workbench.plots.Plots`)."""
        from workbench.plots.namespace import Plots

        return Plots(self)

    def summary(self) -> str:
        """``95 tensors: 90 ok, 3 failing, 2 unmatched``."""
        return wording.summary(self.rows)

    def __repr__(self) -> str:
        verdict = "ok" if self.ok else "not ok"
        sides = " → ".join(f"{side.format} {side.name!r}" for side in (self.reference, self.target))
        return f"Report({sides}, {verdict}, {self.summary()})"

    def __str__(self) -> str:
        """The verdict, the outputs and what is worst, in figures that do not vary between machines."""
        return wording.text(self)

    def _repr_html_(self) -> str:
        return render.fragment(self)


def load_report(path: str | os.PathLike[str]) -> Report:
    """Open a report that :meth:`Report.save` wrote; it has no models, so no tensors can be recomputed.

    Raises:
        ModelError: it is no such file.
    """
    return Report(**storage.parts_of(Path(path), Side))


def _write(path: str | os.PathLike[str], text: str) -> Path:
    destination = Path(os.path.expanduser(path))
    with replacing(destination, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
    return destination
