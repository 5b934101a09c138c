"""Opt-in: coremltools' own ``MLModel.predict`` off Apple.

>>> import coremltools as ct, workbench.coreml
>>> with workbench.coreml.enable_predict():
...     outputs = ct.models.MLModel("model.mlpackage").predict({"input": array})

coremltools asks a native class, its model proxy, to predict; that class exists on macOS only. :func:`enable_predict`
puts one in its place that reads the model into the hub and runs it on onnxruntime. Pictures, class labels, functions
and states are taken and returned as Apple's runtime does it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from workbench.errors import ExecutionError, WorkbenchError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.features import SCALARS
from workbench.formats.coreml.image import is_picture, picture_of
from workbench.formats.coreml.interface import Feature
from workbench.formats.coreml.read import CoreMLDocument, read
from workbench.model import Model

_LOCK = threading.Lock()
_SPECIFICATION = 10  # iOS26; newer files are refused by coremltools itself
_MACOS = (26, 0)
"""The version that coremltools' model class is told: it refuses states on anything older than macOS 15."""

Array = np.ndarray[Any, Any]
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

    _replaced: dict[str, Any]
    """What coremltools' module had under the names that are replaced."""

    def __init__(self) -> None:
        self._switched = False

    def enable(self) -> None:
        """Put the substitute in place; nothing happens if it is there already."""
        module = toolkit.public("models.model")
        with _LOCK:
            if module._MLModelProxy is _Proxy:
                return
            if module._MLModelProxy is not None:
                raise ExecutionError("coremltools has Apple's own predictor on this system; use that one.")
            Predict._replaced = {name: getattr(module, name) for name in _SUBSTITUTES}
            for name, substitute in _SUBSTITUTES.items():
                setattr(module, name, substitute)
            self._switched = True

    def disable(self) -> None:
        """Put coremltools back as it was; models that are open keep their predictor."""
        module = toolkit.public("models.model")
        with _LOCK:
            if module._MLModelProxy is _Proxy:
                for name, replaced in Predict._replaced.items():
                    setattr(module, name, replaced)
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


class _State:
    """What coremltools' ``MLState`` holds where it would hold Apple's; the names are coremltools' own."""

    def __init__(self, values: dict[str, Array]) -> None:
        self.values = values

    def read_state(self, name: str) -> Array:
        copy: Array = self._known(name).copy()
        return copy

    def write_state(self, name: str, value: Any) -> None:
        kept = self._known(name)
        array: Array = np.array(value, dtype=kept.dtype)
        if array.shape != kept.shape:
            raise RuntimeError(f"the state {name!r} is of shape {list(kept.shape)}, not {list(array.shape)}")
        self.values[name] = array

    def _known(self, name: str) -> Array:
        if name not in self.values:
            raise RuntimeError(f"the model has no state {name!r}; it has {', '.join(self.values)}")
        return self.values[name]


class _Proxy:
    """What coremltools calls where it would call Apple's runtime; the names and signatures are coremltools' own."""

    def __init__(
        self, filename: str, compute_units: str, function: str, hints: Mapping[str, str], asset: object
    ) -> None:
        try:
            self._document: CoreMLDocument = read(Path(filename), function=function)
        except WorkbenchError as error:
            raise RuntimeError(str(error)) from error  # the class that coremltools expects of a proxy
        self._model = Model(self._document)
        self._inputs = {spec.name: spec.dtype for spec in self._model.inputs}

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return _SPECIFICATION

    def predict(self, data: Feeds, state: _State | None = None) -> dict[str, Any]:
        if self._model.states and state is None:
            raise RuntimeError("the model has a state; pass state=model.make_state() to predict.")
        try:
            feeds = {name: _declared(name, value, self._inputs.get(name)) for name, value in data.items()}
            results = self._model.run(feeds, state=None if state is None else state.values)
        except WorkbenchError as error:  # in Apple's words, which callers look for
            raise RuntimeError(f"Unable to compute the prediction using ML Program. {error}") from error
        return self._returned(results)

    def batchPredict(self, data: Sequence[Feeds]) -> list[dict[str, Any]]:
        return [self.predict(feeds) for feeds in data]

    def newState(self) -> _State:
        return _State(self._model.new_state())

    def _returned(self, results: Mapping[str, Array]) -> dict[str, Any]:
        """The results as Apple's runtime returns them: pictures, numbers, and labels with their probabilities."""
        interface, classifier = self._document.interface, self._document.classifier
        found: dict[str, Any] = {}
        for feature in interface.outputs:
            if feature.name == interface.undescribed or feature.name not in results:
                continue
            array = results[feature.name]
            if classifier is not None and feature.name == classifier.label:
                found[feature.name] = array.item()
            elif classifier is not None and feature.kind == "dictionary":
                found[feature.name] = dict(zip(classifier.classes, array.reshape(-1).tolist(), strict=True))
            else:
                found[feature.name] = _result(array, feature)
        return found


def _result(array: Array, feature: Feature) -> Any:
    """A picture, a Python number or text, a list, a dictionary of places and values other than 0; else an array.

    Core ML has no arrays of rank 0.
    """
    if feature.kind == "image":
        return picture_of(array, feature)
    if feature.kind in SCALARS:
        return array.item()
    if feature.kind == "sequence":
        return array.tolist()
    if feature.kind == "dictionary":
        return {place: value for place, value in enumerate(array.reshape(-1).tolist()) if value}
    return array.reshape(1) if array.ndim == 0 else array


def _declared(name: str, value: Any, dtype: str | None) -> Any:
    """The value in the declared dtype: Apple's runtime casts what it is given, so it is done here too."""
    if is_picture(value) or isinstance(value, Mapping) or dtype == "string":
        return value
    try:
        return np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ExecutionError(f"the feed {name!r} is no array of {dtype}: {error}.") from error


_SUBSTITUTES = {"_MLModelProxy": _Proxy, "_is_macos": lambda: True, "_macos_version": lambda: _MACOS}
"""What is replaced in coremltools' module of the model class."""
