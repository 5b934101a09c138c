"""What a model's description says of its inputs and outputs.

``ModelDescription`` and ``FeatureType`` in https://apple.github.io/coremltools/mlmodel/index.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.document import Dim

ARRAY_DTYPES = {0x10020: "float32", 0x10040: "float64", 0x20020: "int32", 0x10010: "float16", 0x20008: "int8"}
"""``ArrayFeatureType.ArrayDataType`` → numpy's name."""

_COLOURS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_CHANNELS = {"GRAYSCALE": 1, "GRAYSCALE_FLOAT16": 1, "RGB": 3, "BGR": 3}


@dataclass(frozen=True)
class Feature:
    """One input or output of the description.

    Attributes:
        kind: ``array``, ``image``, or another of Core ML's types (``dictionary``, ``string``, ``int64``, …).
        dtype: of an array; images are float32.
        shape: the default shape; an image's is [1, C, H, W]; ``None`` if none is given.
        sizes: the sizes that each dimension may have, as (lowest, highest); the highest is -1 where there is none.
        shapes: the shapes that are allowed, where they are enumerated.
        colours: the order of an image's channels.
    """

    name: str
    kind: str
    dtype: str = "float32"
    shape: tuple[int, ...] | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    colours: str = ""
    optional: bool = False

    def dims(self) -> tuple[Dim, ...] | None:
        """The default shape with a name for each dimension that may vary."""
        if self.shape is None:
            return None
        return tuple(
            f"{self.name}_{axis}" if self._varies(axis, size) else size for axis, size in enumerate(self.shape)
        )

    def _varies(self, axis: int, size: int) -> bool:
        if self.shapes:
            return any(len(shape) == len(self.shape or ()) and shape[axis] != size for shape in self.shapes)
        return axis < len(self.sizes) and self.sizes[axis][0] != self.sizes[axis][1]


@dataclass(frozen=True)
class Interface:
    """The whole description."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[str, ...] = ()
    label_name: str = ""
    probabilities_name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def interface_of(message: Any) -> Interface:
    """Read the description of a ``Model`` message; a multi-function model's is that of its default function."""
    description = message.description
    features = description
    if description.functions:
        name = description.defaultFunctionName
        features = next((entry for entry in description.functions if entry.name == name), description.functions[0])
    return Interface(
        inputs=tuple(map(_feature, features.input)),
        outputs=tuple(map(_feature, features.output)),
        states=tuple(state.name for state in features.state),
        label_name=features.predictedFeatureName,
        probabilities_name=features.predictedProbabilitiesName,
        metadata=dict(description.metadata.userDefined),
    )


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type") or "untyped"
    optional = bool(message.type.isOptional)
    if kind == "multiArrayType":
        return _array(message.name, message.type.multiArrayType, optional)
    if kind == "imageType":
        return _image(message.name, message.type.imageType, optional)
    return Feature(message.name, kind.removesuffix("Type"), optional=optional)


def _array(name: str, array: Any, optional: bool) -> Feature:
    shapes = tuple(tuple(int(size) for size in shape.shape) for shape in array.enumeratedShapes.shapes)
    sizes = tuple((int(size.lowerBound), int(size.upperBound)) for size in array.shapeRange.sizeRanges)
    shape = tuple(int(size) for size in array.shape) or (shapes[0] if shapes else ())
    dtype = ARRAY_DTYPES.get(array.dataType, "float32")
    return Feature(name, "array", dtype, shape or None, sizes, shapes, optional=optional)


def _image(name: str, image: Any, optional: bool) -> Feature:
    colours = _COLOURS.get(image.colorSpace, "RGB")
    channels = _CHANNELS[colours]
    shapes = tuple((1, channels, int(size.height), int(size.width)) for size in image.enumeratedSizes.sizes)
    sizes: tuple[tuple[int, int], ...] = ()
    if image.HasField("imageSizeRange"):
        spatial = (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)
        sizes = ((1, 1), (channels, channels), *((int(part.lowerBound), int(part.upperBound)) for part in spatial))
    shape = (1, channels, int(image.height), int(image.width))
    return Feature(name, "image", "float32", shape, sizes, shapes, colours, optional)
