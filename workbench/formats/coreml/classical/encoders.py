"""Feature engineering: scaling, imputing, normalising, encoding categories, and putting features together.

https://apple.github.io/coremltools/mlmodel/index.html (Scaler, Imputer, Normalizer, OneHotEncoder, CategoricalMapping,
DictVectorizer, FeatureVectorizer, ArrayFeatureExtractor,
ClassConfidenceThresholding, Identity)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.table import DOUBLE, INT64, Array, Kind, doubles, flat, kinds
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_L_MAX, _L1, _L2 = range(3)


@kinds.lowers("scaler")
def scaler(kind: Kind, emit: Emitter) -> ir.Value:
    """scale (x + shift), each one number or one for each element."""
    _, value = kind.only()
    if kind.output().kind == "int64":
        raise Refused("its output is an integer: Core ML fails where the result is none, which no operator does")
    value = kind.numbers(emit, value)
    shift, scale = (np.asarray(getattr(kind.parameters, f"{name}Value"), np.float64) for name in ("shift", "scale"))
    if shift.size:
        value = emit.op("Add", value, doubles(emit, _fitted(kind, shift, value)))
    return emit.op("Mul", value, doubles(emit, _fitted(kind, scale, value))) if scale.size else value


def _fitted(kind: Kind, numbers: Array, value: ir.Value) -> Array:
    """One number, or numbers in the shape of the value."""
    dims = dims_of(value) or ()
    sizes = [size for size in dims if isinstance(size, int)]
    if numbers.size == 1:
        return numbers.reshape(())
    if len(sizes) != len(dims) or math.prod(sizes) != numbers.size:
        raise kind.error(f"{numbers.size} numbers are given for an input of shape {list(dims)}")
    return numbers.reshape(sizes)


@kinds.lowers("imputer")
def imputer(kind: Kind, emit: Emitter) -> ir.Value:
    """What stands for a missing value is replaced: by one value, or in arrays by one for each element.

    Where the model does not say what that is, it is NaN.
    """
    which = kind.parameters.WhichOneof("ImputedValue")
    if which is None:
        raise kind.error("it says nothing to put in place of missing values")
    if which.endswith("Dictionary"):
        raise Refused("it fills up a dictionary, whose keys are not known")
    _, value = kind.only()
    missing = kind.parameters.WhichOneof("ReplaceValue")
    marker: Any = math.nan if missing is None else getattr(kind.parameters, missing)
    given = getattr(kind.parameters, which)
    if value.dtype is ir.DataType.STRING or isinstance(given, str):
        return _filled_texts(kind, emit, value, given, marker)
    if isinstance(marker, str):
        raise kind.error("a text stands for missing numbers")
    filler = np.asarray(given.vector if which.endswith("Array") else given)
    if value.dtype is not ir.DataType.INT64:
        value, filler = kind.numbers(emit, value), filler.astype(np.float64)
    elif filler.dtype.kind != "i" or not isinstance(marker, int):
        raise kind.error("the input is an integer, the missing value or what replaces it is none")
    filled = emit.const(_fitted(kind, filler, value))
    if isinstance(marker, float) and math.isnan(marker):
        return emit.op("Where", emit.op("IsNaN", value), filled, value)
    marked = emit.op("Equal", value, emit.const(np.asarray(marker, filler.dtype)))
    return emit.op("Where", marked, filled, value)


def _filled_texts(kind: Kind, emit: Emitter, value: ir.Value, given: Any, marker: Any) -> ir.Value:
    if value.dtype is not ir.DataType.STRING or not isinstance(given, str) or not isinstance(marker, str):
        raise kind.error("input, missing value and what replaces it are not all texts")
    return emit.op("Where", emit.op("Equal", value, texts(emit, [marker])), texts(emit, [given]), value)


@kinds.lowers("normalizer")
def normalizer(kind: Kind, emit: Emitter) -> ir.Value:
    """x divided by its greatest element, the sum of its absolute values, or the root of the sum of its squares.

    Where that is 0 nothing is divided, as in scikit-learn, from which coremltools converts these.
    """
    value = kind.numbers(emit, kind.only()[1])
    reductions = {_L_MAX: "ReduceMax", _L1: "ReduceL1", _L2: "ReduceL2"}
    if kind.parameters.normType not in reductions:
        raise kind.error(f"normType is {kind.parameters.normType}, which Core ML does not know")
    norm = emit.op(reductions[kind.parameters.normType], value, keepdims=0)
    safe = emit.op("Where", emit.op("Equal", norm, doubles(emit, 0.0)), doubles(emit, 1.0), norm)
    return emit.op("Div", value, safe)


@kinds.lowers("oneHotEncoder")
def one_hot_encoder(kind: Kind, emit: Emitter) -> ir.Value:
    """1 at the place of the category, 0 elsewhere, float64 ``[K]``; an unknown one is all zeros or an error.

    The sparse form, a dictionary of one entry, is the same vector in the hub.
    """
    which = kind.parameters.WhichOneof("CategoryType")
    categories = list(getattr(kind.parameters, which).vector) if which else []
    _, value = kind.only()
    if not categories:
        raise kind.error("it has no categories")
    if kind.parameters.handleUnknown not in (0, 1):
        raise kind.error(f"handleUnknown is {kind.parameters.handleUnknown}, which Core ML does not know")
    kind.check_size(value, 1, "a category is")
    encoded = emit.op("Cast", _equal(kind, emit, value, categories), to=DOUBLE)
    if kind.parameters.handleUnknown == 1:
        return encoded
    known = emit.op("Cast", emit.op("ReduceMax", encoded, keepdims=1), to=INT64)
    # Place 1 of one element is out of range: the operator fails, as the model does.
    valid = emit.op("Gather", doubles(emit, [1.0]), emit.op("Sub", emit.const([1]), known))
    return emit.op("Mul", encoded, valid)


@kinds.lowers("categoricalMapping")
def categorical_mapping(kind: Kind, emit: Emitter) -> ir.Value:
    """Texts to integers or integers to texts, of a value or a sequence; an unknown one is a default or an error."""
    which = kind.parameters.WhichOneof("MappingType")
    if which is None:
        raise kind.error("it maps nothing")
    entries = getattr(kind.parameters, which).map
    keys, results = list(entries), [entries[key] for key in entries]
    unknown = kind.parameters.WhichOneof("ValueOnUnknown")
    if unknown == ("strValue" if which == "stringToInt64Map" else "int64Value"):
        raise kind.error(f"{unknown} is no result of {which}")
    if unknown is not None:
        results.append(getattr(kind.parameters, unknown))
    if not results or not keys:
        raise kind.error("its map is empty")
    _, value = kind.only()
    rows = emit.op("Unsqueeze", value, emit.const([-1]))
    hits = emit.op("Cast", _equal(kind, emit, rows, keys), to=DOUBLE)  # [n, K]
    known = emit.op("Greater", emit.op("ReduceMax", hits, emit.const([-1]), keepdims=0), doubles(emit, 0.0))
    # An unknown one is behind the keys, where the default is; without one the operator fails, as the model does.
    place = emit.op("Where", known, emit.op("ArgMax", hits, axis=-1, keepdims=0), emit.const(len(keys)))
    table = texts(emit, results) if isinstance(results[0], str) else emit.const(np.asarray(results, np.int64))
    return emit.op("Gather", table, place)


def _equal(kind: Kind, emit: Emitter, value: ir.Value, keys: Sequence[str | int]) -> ir.Value:
    """Whether the value is each of the keys."""
    if (value.dtype is ir.DataType.STRING) != isinstance(keys[0], str):
        raise kind.error("its input is a text and its categories are numbers, or the other way round")
    if isinstance(keys[0], str):
        return emit.op("Equal", value, texts(emit, list(map(str, keys))))
    if value.dtype is not ir.DataType.INT64:
        raise kind.error("its input is no integer, its categories are")
    return emit.op("Equal", value, emit.const(np.asarray(keys, np.int64)))


@kinds.lowers("dictVectorizer")
def dict_vectorizer(kind: Kind, emit: Emitter) -> ir.Value:
    """The values of a dictionary in the order of the keys; in the hub its input is that vector already."""
    return kind.only()[1]


def dictionary_keys(parameters: Any) -> tuple[str | int, ...]:
    """The keys of a ``DictVectorizer``."""
    which = parameters.WhichOneof("Map")
    return tuple(getattr(parameters, which).vector) if which else ()


@kinds.lowers("featureVectorizer")
def feature_vectorizer(kind: Kind, emit: Emitter) -> ir.Value:
    """Features behind one another, ``[N]``; of a dictionary from places to values, as many places as are stated."""
    features = {feature.name: feature for feature in kind.interface.inputs}
    parts = []
    for column in kind.parameters.inputList:
        if column.inputColumn not in features:
            raise kind.error(f"it reads {column.inputColumn!r}, which is none of its inputs")
        value = flat(emit, kind.numbers(emit, kind.inputs[column.inputColumn]))
        size = int(column.inputDimensions)
        if features[column.inputColumn].kind == "dictionary":
            value = _lengthened(kind, emit, value, size)
        kind.check_size(value, size, f"of {column.inputColumn!r} it takes")
        parts.append(value)
    if not parts:
        raise kind.error("it puts nothing together")
    return emit.op("Concat", *parts, axis=0)


def _lengthened(kind: Kind, emit: Emitter, value: ir.Value, size: int) -> ir.Value:
    """A dictionary's vector with zeros up to the size."""
    kind.bounded(size, "the places of a dictionary")
    dims = dims_of(value) or (None,)
    if not isinstance(dims[0], int) or dims[0] >= size:
        return value
    return emit.op("Concat", value, doubles(emit, np.zeros(size - dims[0])), axis=0)


@kinds.lowers("arrayFeatureExtractor")
def array_feature_extractor(kind: Kind, emit: Emitter) -> ir.Value:
    """The elements at the indices, ``[n]``."""
    _, value = kind.only()
    indices = [int(index) for index in kind.parameters.extractIndex]
    value = flat(emit, value)
    dims = dims_of(value)
    size = dims[0] if dims is not None and isinstance(dims[0], int) else np.iinfo(np.int32).max
    if not indices or max(indices) >= size:
        raise kind.error(f"it takes the elements {indices[:8]} of {size}")
    return emit.op("Gather", value, emit.const(indices))


@kinds.lowers("identity")
def identity(kind: Kind, emit: Emitter) -> Mapping[str, ir.Value]:
    """Every input under its own name."""
    return kind.inputs


@kinds.lowers("classConfidenceThresholding")
def class_confidence_thresholding(kind: Kind, emit: Emitter) -> ir.Value:
    """Confidences ``[C]`` → ``[2, C]``: the same, and 1 for every class, since Core ML takes all of them."""
    row = emit.op("Unsqueeze", flat(emit, kind.numbers(emit, kind.only()[1])), emit.const([0]))
    ones = emit.op("Expand", doubles(emit, 1.0), emit.op("Shape", row))
    return emit.op("Concat", row, ones, axis=0)


def texts(emit: Emitter, values: Sequence[str]) -> ir.Value:
    """A constant of texts, ``[n]``."""
    return emit.tensor(ir.StringTensor([value.encode() for value in values], shape=ir.Shape([len(values)])))
