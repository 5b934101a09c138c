"""``metadata.json`` of a compiled model → ``ModelDescription``: every feature as the compiler writes it.

The compiler writes flags and numbers as strings (``"1"``, ``"[1, 3]"``), a range of sizes as ``"[[1, 1], [1, -1]]"``,
and of pictures the width before the height.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.errors import ModelError

PROGRAM = "MLModelType_mlProgram"
_ARRAYS = {"Float16": 0x10010, "Float32": 0x10020, "Float64": 0x10040, "Double": 0x10040, "Int32": 0x20020,
           "Int8": 0x20008}  # fmt: skip
_COLOURS = {"Grayscale": 10, "RGB": 20, "BGR": 30, "Grayscale16Half": 40}
_TEXTS = {"shortDescription": "shortDescription", "version": "versionString", "author": "author", "license": "license"}


def load_metadata(data: bytes, where: str) -> Mapping[str, Any]:
    """The one record of ``metadata.json``.

    Raises:
        ModelError: it is no such file, or speaks of another kind of model than an ML program.
    """
    try:
        records = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: not JSON ({type(error).__name__}: {error}).") from error
    record = records[0] if isinstance(records, list) and len(records) == 1 else None
    if not isinstance(record, dict):
        raise ModelError(f"{where}: not the metadata of a compiled model, a list of one record.")
    kind = record.get("modelType")
    name = kind.get("name", PROGRAM) if isinstance(kind, dict) else PROGRAM
    if name != PROGRAM:
        raise ModelError(
            f"{where}: a compiled model of type {name} cannot be read; use the model that it was compiled from."
        )
    return record


def describe(description: Any, record: Mapping[str, Any], where: str) -> None:
    """Fill a ``ModelDescription`` from the record.

    Raises:
        ModelError: a feature is not understood.
    """
    try:
        for key, field in _TEXTS.items():
            setattr(description.metadata, field, str(record.get(key) or ""))
        for key, value in (record.get("userDefinedMetadata") or {}).items():
            description.metadata.userDefined[str(key)] = str(value)
        functions = record.get("functions") or ()
        for entry in functions:
            made = description.functions.add()
            made.name = entry["name"]
            _interface(made, entry, where)
        if functions:
            description.defaultFunctionName = record.get("defaultFunctionName") or functions[0]["name"]
        else:
            _interface(description, record, where)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, IndexError) as error:
        raise ModelError(f"{where}: the interface is not understood ({type(error).__name__}: {error}).") from error


def _interface(into: Any, record: Mapping[str, Any], where: str) -> None:
    for key, features in (("inputSchema", into.input), ("outputSchema", into.output), ("stateSchema", into.state)):
        for entry in record.get(key) or ():
            _feature(features.add(), entry, where)
    name_classifier(into)


def name_classifier(into: Any) -> None:
    """Name the results of a classifier, if it is one: an output with the label and one with a number for each label."""
    kinds = {feature.type.WhichOneof("Type"): feature.name for feature in into.output}
    label = kinds.get("stringType") or kinds.get("int64Type")
    if label and "dictionaryType" in kinds:
        into.predictedFeatureName, into.predictedProbabilitiesName = label, kinds["dictionaryType"]


def _feature(into: Any, entry: Mapping[str, Any], where: str) -> None:
    into.name = entry["name"]
    into.shortDescription = str(entry.get("shortDescription") or "")
    kind = entry["type"]
    if kind not in _KINDS:
        raise ModelError(f"{where}: {entry['name']!r} is of type {kind!r}, which is not known.")
    _KINDS[kind](into.type, entry)
    into.type.isOptional = str(entry.get("isOptional", "0")) == "1"


def _array(into: Any, entry: Mapping[str, Any]) -> None:
    fill_array(
        into.multiArrayType,
        _ARRAYS[entry["dataType"]],
        _numbers(entry["shape"]),
        ranges=_numbers(entry.get("shapeRange")),
        shapes=_numbers(entry.get("enumeratedShapes")),
    )


def _state(into: Any, entry: Mapping[str, Any]) -> None:
    fill_array(into.stateType.arrayType, _ARRAYS[entry["dataType"]], _numbers(entry["shape"]))


def fill_array(
    array: Any,
    dtype: int,
    shape: Sequence[int],
    *,
    ranges: Sequence[Sequence[int]] = (),
    shapes: Sequence[Sequence[int]] = (),
) -> None:
    """Fill an ``ArrayFeatureType``.

    Args:
        array: what to fill.
        dtype: ``ArrayFeatureType.ArrayDataType``.
        shape: the default shape.
        ranges: (lowest, highest) of each size, -1 where there is no highest.
        shapes: all shapes, where they are enumerated.
    """
    array.dataType = dtype
    array.shape.extend(shape)
    for allowed in shapes:
        array.enumeratedShapes.shapes.add().shape.extend(allowed)
    for low, high in ranges if not shapes else ():
        array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


def _image(into: Any, entry: Mapping[str, Any]) -> None:
    image = into.imageType
    image.width, image.height = int(entry["width"]), int(entry["height"])
    image.colorSpace = _COLOURS[entry["colorspace"]]
    for width, height in _numbers(entry.get("enumeratedSizes")):
        image.enumeratedSizes.sizes.add(width=width, height=height)
    ranges = _numbers(entry.get("sizeRange"))
    if ranges:
        for field, (low, high) in zip(("widthRange", "heightRange"), ranges, strict=True):
            size = getattr(image.imageSizeRange, field)
            size.lowerBound, size.upperBound = low, high


def _dictionary(into: Any, entry: Mapping[str, Any]) -> None:
    field = {"String": "stringKeyType", "Int64": "int64KeyType"}[entry["keyType"]]
    getattr(into.dictionaryType, field).SetInParent()


def _scalar(field: str) -> Callable[[Any, Mapping[str, Any]], None]:
    return lambda into, entry: getattr(into, field).SetInParent()


_KINDS: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "MultiArray": _array,
    "Image": _image,
    "State": _state,
    "Dictionary": _dictionary,
    "String": _scalar("stringType"),
    "Int64": _scalar("int64Type"),
    "Double": _scalar("doubleType"),
}


def _numbers(value: Any) -> Any:
    """``"[1, 3]"`` as a list; nothing as an empty one."""
    return json.loads(value) if isinstance(value, str) and value else value or []
