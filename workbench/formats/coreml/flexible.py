"""Inputs that take several shapes, in a model's description.

``shapeRange``, ``enumeratedShapes`` and their likes for images:
https://apple.github.io/coremltools/mlmodel/Format/FeatureTypes.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import OptionError
from workbench.hub import Flexible


def check_flexible(flexible: Mapping[str, Flexible]) -> None:
    """Refuse what no ML program takes.

    Raises:
        OptionError: a range without an end; enumerated shapes beside other inputs that take several shapes.
    """
    for name, shapes in flexible.items():
        for axis, (low, high) in enumerate(shapes.bounds):
            if high is None:
                raise OptionError(
                    f"shapes: dimension {axis} of {name!r} has no upper end, which ML programs need; "
                    f"give it one: Range({low}, {max(512, 8 * low)})."
                )
    enumerated = [name for name, shapes in flexible.items() if shapes.shapes]
    if enumerated and len(flexible) > 1:
        other = next(name for name in flexible if name != enumerated[0])
        raise OptionError(
            f"shapes: {enumerated[0]!r} takes enumerated shapes; Core ML then fixes every other input, but {other!r} "
            "takes several shapes too. Give both ranges, or fix one."
        )


def describe_shapes(description: Any, flexible: Mapping[str, Flexible | None]) -> None:
    """Put default shapes and what else is allowed into a ``ModelDescription`` message.

    Args:
        flexible: the program's input → the shapes that it takes, if several.
    """
    for feature in description.input:
        shapes = flexible.get(feature.name)
        if shapes is None:
            continue
        if feature.type.WhichOneof("Type") == "imageType":
            _describe_image(feature.type.imageType, shapes)
        else:
            _describe_array(feature.type.multiArrayType, shapes)


def _describe_array(array: Any, shapes: Flexible) -> None:
    array.shape[:] = shapes.default
    array.ClearField("ShapeFlexibility")
    if shapes.shapes:
        for shape in shapes.shapes:
            array.enumeratedShapes.shapes.add().shape[:] = shape
        return
    for low, high in shapes.bounds:
        size = array.shapeRange.sizeRanges.add()
        size.lowerBound, size.upperBound = low, -1 if high is None else high


def _describe_image(image: Any, shapes: Flexible) -> None:
    """Heights and widths, of shapes [1, C, H, W]."""
    image.height, image.width = shapes.default[2:]
    image.ClearField("SizeFlexibility")
    if shapes.shapes:
        for _, _, height, width in shapes.shapes:
            size = image.enumeratedSizes.sizes.add()
            size.height, size.width = height, width
        return
    for part, (low, high) in zip(
        (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange), shapes.bounds[2:], strict=True
    ):
        part.lowerBound, part.upperBound = low, -1 if high is None else high
