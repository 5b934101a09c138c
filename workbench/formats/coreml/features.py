"""Features that are no arrays, as the hub has them: numbers, texts, sequences and dictionaries.

Core ML's features of type double, int64 and string are single values; the hub has them as arrays of shape [1]. Doubles
stay float64: the kinds of model that take them (trees, linear models, encoders) state every parameter as a double. A
dictionary is the float64 vector of its values, in the order of the keys that the model knows.
https://apple.github.io/coremltools/mlmodel/Format/FeatureTypes.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.document import Dim, TensorSpec
from workbench.errors import ExecutionError
from workbench.formats.coreml.interface import Feature

Array = np.ndarray[Any, Any]
Key = str | int

SCALARS = {"double": "float64", "int64": "int64", "string": "string"}
"""Types of single values → the hub's dtype."""


def feature_spec(feature: Feature, keys: Sequence[Key] | None = None) -> TensorSpec:
    """The tensor of a feature.

    Args:
        feature: of the description.
        keys: of a dictionary, where the model knows them.
    """
    if feature.kind in SCALARS:
        return TensorSpec(feature.name, SCALARS[feature.kind], (1,))
    if feature.kind in ("array", "image"):
        return TensorSpec(feature.name, feature.dtype if feature.kind == "array" else "float32", feature.dims())
    if feature.kind == "sequence":
        return TensorSpec(feature.name, feature.dtype, (f"{feature.name}_length",))
    size: Dim = None if keys is None else len(keys)
    return TensorSpec(feature.name, "float64", (size,))


def fed(value: Any, feature: Feature, keys: Sequence[Key] | None = None) -> Any:
    """A feed in the form of :func:`feature_spec`: a Python number or text, a list of them, or a dictionary.

    Arrays of another kind are handed on as they are; what is wrong with them is said by the check of feeds.

    Raises:
        ExecutionError: the feature takes no dictionary, or it holds something that is no number.
    """
    if isinstance(value, Mapping):
        return _vector(value, feature, keys)
    if feature.kind not in SCALARS and feature.kind != "sequence":
        return value
    dtype = SCALARS.get(feature.kind, feature.dtype)
    array = np.asarray(value)
    if dtype == "string":
        array = array.astype(object) if array.dtype.kind in "US" else array
    elif array.dtype.kind in "biuf" and np.can_cast(array.dtype, dtype, "same_kind"):
        array = array.astype(dtype)
    return array.reshape(1) if feature.kind in SCALARS and array.size == 1 else array


def _vector(values: Mapping[Any, Any], feature: Feature, keys: Sequence[Key] | None) -> Array:
    """The values in the order of the keys; a key that is not given is 0, one that the model does not know is nothing.

    https://apple.github.io/coremltools/mlmodel/Format/DictVectorizer.html; unknown keys by coremltools' own tests.
    """
    if keys is None:
        raise ExecutionError(f"the input {feature.name!r} takes no dictionary.")
    try:
        return np.asarray([values.get(key, 0.0) for key in keys], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ExecutionError(f"the feed {feature.name!r} holds something that is no number ({error}).") from error
