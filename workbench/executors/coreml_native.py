"""Core ML models on Apple's own runtime, for their outputs; macOS only.

Apple's runtime gives outputs, no inner tensors. Taps therefore go through the translated program, as everywhere else.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from workbench.document import Document, TensorSpec
from workbench.errors import ExecutionError
from workbench.executors.base import Executor
from workbench.executors.feeds import check_feeds

Array = np.ndarray[Any, Any]


class Predictor(Protocol):
    """The part of coremltools' ``MLModel`` that is used."""

    def predict(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """https://apple.github.io/coremltools/source/coremltools.models.html"""
        ...


def is_available() -> bool:
    """Whether this machine has Apple's runtime."""
    return sys.platform == "darwin"


def predictor_of(document: Document) -> Callable[[], Predictor] | None:
    """What opens the document on Apple's runtime; ``None`` where its interface is not arrays only.

    Images and dictionaries of class probabilities are other objects to Apple's runtime than to the document, whose
    inputs and outputs are arrays: such a model runs translated. So does one with states, whose values Apple's runtime
    does not take as inputs, one that is read otherwise than its file says (one of its functions, float16 widened), and
    one with an output that the hub calls otherwise.
    """
    from workbench.formats.coreml.read import CoreMLDocument

    if not isinstance(document, CoreMLDocument) or document.states or document.read_options:
        return None
    if document.own_names:
        return None
    if any(feature.kind != "array" for feature in (*document.interface.inputs, *document.interface.outputs)):
        return None

    def open_model() -> Predictor:
        from workbench.formats.coreml import toolkit

        with tempfile.TemporaryDirectory() as folder:  # coremltools compiles what it opens into a place of its own
            path = Path(folder) / "model.mlpackage"
            document.write(path)
            model: Predictor = toolkit.public("models").MLModel(str(path))
            return model

    return open_model


class CoreMLExecutor:
    """Runs a Core ML model on Apple's runtime.

    Args:
        open_model: makes the ``MLModel``; called at the first run.
        inputs: of the model; ``outputs`` likewise.
        subject: the model's name for messages.
        translated: makes the executor that taps are left to; called when the first tap is asked for.
    """

    name = "Core ML"

    def __init__(
        self,
        open_model: Callable[[], Predictor],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        subject: str,
        translated: Callable[[], Executor],
    ) -> None:
        self._open, self._translate = open_model, translated
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.subject = subject
        self._model: Predictor | None = None
        self._taps: Executor | None = None

    def run(self, feeds: Mapping[str, Array], tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model once (see :class:`workbench.executors.Executor`); inner tensors by the translated program.

        Raises:
            ExecutionError: feeds that do not fit, an unknown tensor, or a failure of Apple's runtime.
        """
        names = [spec.name for spec in self.outputs]
        if tensors is not None and not set(tensors) <= set(names):
            if self._taps is None:
                self._taps = self._translate()
            return self._taps.run(feeds, tensors)
        try:
            check_feeds(self.inputs, feeds)
            if self._model is None:
                self._model = self._open()
            found = self._model.predict(dict(feeds))
        except ExecutionError as error:
            raise ExecutionError(f"{self.name} cannot run {self.subject}: {error}") from error
        except Exception as error:  # coremltools passes on whatever Apple's framework raises
            raise ExecutionError(f"{self.name} cannot run {self.subject}: {error}") from error
        missing = [name for name in names if name not in found]
        if missing:
            raise ExecutionError(f"{self.name} cannot run {self.subject}: it returned no {missing[0]!r}.")
        by_name = {spec.name: _as_stated(found[spec.name], spec) for spec in self.outputs}
        return {name: by_name[name] for name in (names if tensors is None else tensors)}

    def close(self) -> None:
        """Let go of the model; the next run opens it again."""
        self._model = None
        if self._taps is not None:
            self._taps.close()
            self._taps = None

    def __enter__(self) -> CoreMLExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_stated(value: Any, spec: TensorSpec) -> Array:
    """An output in the dtype that the model states (coremltools returns plain numbers and wider types at times)."""
    array = np.asarray(value)
    return array if spec.dtype not in np.sctypeDict else np.asarray(array, dtype=spec.dtype)
