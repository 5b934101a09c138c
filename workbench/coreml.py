"""Opt-in: coremltools' own ``MLModel.predict`` off Apple.

>>> import coremltools as ct, workbench.coreml
>>> with workbench.coreml.enable_predict():
...     outputs = ct.models.MLModel("model.mlpackage").predict({"input": array})

coremltools asks a native class, its model proxy, to predict; that class exists on macOS only. :func:`enable_predict`
puts one in its place that reads the model into the hub and runs it on onnxruntime.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from workbench.errors import ExecutionError, WorkbenchError
from workbench.formats.coreml import toolkit
from workbench.model import Model, load

_LOCK = threading.Lock()
_SPECIFICATION = 10  # iOS26; newer files are refused by coremltools itself

Feeds = Mapping[str, Any]


def enable_predict() -> Predict:
    """Make ``MLModel.predict`` work off Apple for the models that are opened from now on, in this process.

    Calling it is enough; used in a ``with`` statement, coremltools is as before at the end of the block. A model that
    was opened before, or with ``skip_model_load=True``, still cannot predict.

    Raises:
        ExecutionError: coremltools has its native predictor (on macOS), which is not replaced.
    """
    predict = Predict()
    predict.enable()
    return predict


class Predict:
    """The switch that :func:`enable_predict` has put on; :meth:`disable` puts it off.

    The end of a ``with`` block puts it off only if this switch was what put it on, so blocks may be nested.
    """

    def __init__(self) -> None:
        self._switched = False

    def enable(self) -> None:
        """Put the substitute in place; nothing happens if it is there already."""
        module = toolkit.submodule("models.model")
        with _LOCK:
            if module._MLModelProxy is not None and module._MLModelProxy is not _Proxy:
                raise ExecutionError("coremltools has Apple's own predictor on this system; use that one.")
            self._switched = self._switched or module._MLModelProxy is None
            module._MLModelProxy = _Proxy

    def disable(self) -> None:
        """Put coremltools back as it was; models that are open keep their predictor."""
        module = toolkit.submodule("models.model")
        with _LOCK:
            if module._MLModelProxy is _Proxy:
                module._MLModelProxy = None
            self._switched = False

    def __enter__(self) -> Predict:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._switched:
            self.disable()

    def __repr__(self) -> str:
        return "Predict()"


class _Proxy:
    """What coremltools calls where it would call Apple's runtime; the names and signatures are coremltools' own."""

    def __init__(
        self, filename: str, compute_units: str, function: str, hints: Mapping[str, str], asset: object
    ) -> None:
        if function and function != "main":
            raise RuntimeError(f"the function {function!r}: only 'main' can be run off Apple")
        try:
            self._model: Model = load(filename)
        except WorkbenchError as error:
            raise RuntimeError(str(error)) from error  # the class that coremltools expects of a proxy

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return _SPECIFICATION

    def predict(self, data: Feeds, state: object = None) -> dict[str, Any]:
        if state is not None:
            raise ExecutionError("stateful prediction is not available off Apple in this version of the workbench.")
        dtypes = {spec.name: spec.dtype for spec in self._model.inputs}
        return self._model.run({name: _declared(name, value, dtypes.get(name)) for name, value in data.items()})

    def batchPredict(self, data: Sequence[Feeds]) -> list[dict[str, Any]]:
        return [self.predict(feeds) for feeds in data]

    def newState(self) -> object:
        raise ExecutionError("stateful prediction is not available off Apple in this version of the workbench.")


def _declared(name: str, value: Any, dtype: str | None) -> np.ndarray[Any, Any]:
    """The value in the declared dtype: Apple's runtime casts what it is given, so it is done here too."""
    try:
        return np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ExecutionError(f"the feed {name!r} is no array of {dtype}: {error}.") from error
