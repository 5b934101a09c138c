"""What a model's description says of its inputs and outputs.

``ModelDescription`` and ``FeatureType`` in https://apple.github.io/coremltools/mlmodel/index.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.document import Dim
from workbench.errors import ModelError, OptionError
from workbench.formats.coreml.options import CHANNELS
from workbench.formats.coreml.program import unused

ARRAY_DTYPES = {0x10020: "float32", 0x10040: "float64", 0x20020: "int32", 0x10010: "float16", 0x20008: "int8"}
"""``ArrayFeatureType.ArrayDataType`` → numpy's name."""

COLOURS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
"""``ImageFeatureType.ColorSpace`` → the colour layout."""

_CHANNELS = {**CHANNELS, "GRAYSCALE_FLOAT16": 1}


@dataclass(frozen=True)
class Feature:
    """One input or output of the description.

    Attributes:
        kind: ``array``, ``image``, or another of Core ML's types (``dictionary``, ``string``, ``int64``, …).
        dtype: of an array or a sequence; images are float32.
        shape: the default shape; an image's is [1, C, H, W]; ``None`` if none is given.
        sizes: the sizes that each dimension may have, as (lowest, highest); the highest is -1 where there is none.
        shapes: the shapes that are allowed, where they are enumerated.
        colours: the order of an image's channels.
        default: the value that each element of an optional array has where it is not given.
    """

    name: str
    kind: str
    dtype: str = "float32"
    shape: tuple[int, ...] | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    colours: str = ""
    optional: bool = False
    default: float | None = None

    def dims(self) -> tuple[Dim, ...] | None:
        """The default shape with a name for each dimension that may vary."""
        if self.shape is None:
            return None
        return tuple(
            f"{self.name}_{axis}" if self._varies(axis, size) else size for axis, size in enumerate(self.shape)
        )

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether the description allows the shape, as far as it speaks of shapes of that rank."""
        if self.shapes:
            return tuple(shape) in self.shapes or tuple(shape) == self.shape
        if len(shape) != len(self.sizes):
            return True
        return all(
            low <= size and (high < 0 or size <= high) for size, (low, high) in zip(shape, self.sizes, strict=True)
        )

    def describe_shapes(self) -> str:
        """``[1, 3, 32 to 128, 8 or more]``, or the shapes that are enumerated."""
        if self.shapes:
            return " or ".join(str(list(shape)) for shape in self.shapes)
        return f"[{', '.join(_described(low, high) for low, high in self.sizes)}]"

    def _varies(self, axis: int, size: int) -> bool:
        if self.shapes:
            return any(len(shape) == len(self.shape or ()) and shape[axis] != size for shape in self.shapes)
        return axis < len(self.sizes) and self.sizes[axis][0] != self.sizes[axis][1]


def _described(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} or more" if high < 0 else f"{low} to {high}"


@dataclass(frozen=True)
class Interface:
    """The whole description, of one function where there are several.

    Attributes:
        function: the function that is described; ``""`` where the model has one only.
        functions: all that there are.
        label_name: the output that is a classifier's label; ``""`` of other models.
        probabilities_name: the output with its probabilities. A classifier that describes none has one all the same,
            :attr:`undescribed`.
        metadata: ``author``, ``license``, ``version``, ``description``, and what is user-defined.
    """

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[str, ...] = ()
    label_name: str = ""
    probabilities_name: str = ""
    undescribed: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    function: str = ""
    functions: tuple[str, ...] = ()


def interface_of(message: Any, function: str = "") -> Interface:
    """Read the description of a ``Model`` message.

    Args:
        message: the ``Model``.
        function: of a model with several; its default function if none is named.

    Raises:
        OptionError: the model has no such function.
        ModelError: its default function is not there.
    """
    description = message.description
    features = description
    functions = tuple(entry.name for entry in description.functions)
    chosen = function or description.defaultFunctionName
    if function and function not in (functions or ("main",)):
        raise OptionError(f"the model has no function {function!r}; it has {', '.join(functions) or 'main'}.")
    if functions:
        chosen = chosen or functions[0]
        if chosen not in functions:
            raise ModelError(f"the model has no function {chosen!r}, its default; it has {', '.join(functions)}.")
        features = description.functions[functions.index(chosen)]
    outputs = tuple(map(_feature, features.output))
    label, probabilities, undescribed = features.predictedFeatureName, features.predictedProbabilitiesName, ""
    dictionaries = [feature.name for feature in outputs if feature.kind == "dictionary"]
    if (message.WhichOneof("Type") or "").endswith("Classifier") and not dictionaries:
        probabilities = undescribed = unused("classProbability", {feature.name for feature in outputs})
        outputs += (Feature(undescribed, "dictionary"),)
    return Interface(
        inputs=tuple(map(_feature, features.input)),
        outputs=outputs,
        states=tuple(state.name for state in features.state),
        label_name=label,
        probabilities_name=probabilities or next(iter(dictionaries), ""),
        undescribed=undescribed,
        metadata=_metadata(description.metadata),
        function=chosen,
        functions=functions,
    )


def _metadata(message: Any) -> dict[str, str]:
    """What is not empty, the user's own behind the four fields that Core ML has."""
    fields = {
        "author": message.author,
        "license": message.license,
        "version": message.versionString,
        "description": message.shortDescription,
    }
    return {**{key: text for key, text in fields.items() if text}, **message.userDefined}


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type") or "untyped"
    optional = bool(message.type.isOptional)
    if kind == "multiArrayType":
        return _array(message.name, message.type.multiArrayType, optional)
    if kind == "imageType":
        return _image(message.name, message.type.imageType, optional)
    dtype = "float32"
    if kind == "sequenceType":
        dtype = "int64" if message.type.sequenceType.WhichOneof("Type") == "int64Type" else "string"
    return Feature(message.name, kind.removesuffix("Type"), dtype, optional=optional)


def _array(name: str, array: Any, optional: bool) -> Feature:
    shapes = tuple(tuple(int(size) for size in shape.shape) for shape in array.enumeratedShapes.shapes)
    sizes = tuple((int(size.lowerBound), int(size.upperBound)) for size in array.shapeRange.sizeRanges)
    shape = tuple(int(size) for size in array.shape) or (shapes[0] if shapes else ())
    dtype = ARRAY_DTYPES.get(array.dataType, "float32")
    which = array.WhichOneof("defaultOptionalValue")
    default = None if which is None else float(getattr(array, which))
    return Feature(name, "array", dtype, shape or None, sizes, shapes, optional=optional, default=default)


def _image(name: str, image: Any, optional: bool) -> Feature:
    colours = COLOURS.get(image.colorSpace, "RGB")
    channels = _CHANNELS[colours]
    shapes = tuple((1, channels, int(size.height), int(size.width)) for size in image.enumeratedSizes.sizes)
    sizes: tuple[tuple[int, int], ...] = ()
    if image.HasField("imageSizeRange"):
        spatial = (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)
        sizes = ((1, 1), (channels, channels), *((int(part.lowerBound), int(part.upperBound)) for part in spatial))
    shape = (1, channels, int(image.height), int(image.width))
    return Feature(name, "image", "float32", shape, sizes, shapes, colours, optional)
