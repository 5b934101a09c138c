"""Pictures as Core ML takes and returns them: PIL images of the description's size and colour layout.

The tensor of a picture is [1, C, H, W], channels in the order that the description says, values 0 to 255 (of the
layout GRAYSCALE_FLOAT16: any).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ExecutionError
from workbench.formats.coreml.interface import Feature

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

_MODES = {"GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F", "RGB": "RGB", "BGR": "RGB"}


def is_picture(value: object) -> bool:
    """Whether the value is a PIL image (told without importing PIL)."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def tensor_of(picture: Image, feature: Feature, dtype: str) -> Array:
    """The tensor of a picture, [1, C, H, W]; its colours are converted, its size is not.

    Raises:
        ExecutionError: the input is no image.
    """
    if feature.kind != "image":
        raise ExecutionError(f"the input {feature.name!r} takes an array, not a picture.")
    pixels = np.asarray(picture.convert(_MODES[feature.colours]))
    planes = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    ordered = planes[::-1] if feature.colours == "BGR" else planes
    return np.ascontiguousarray(ordered[np.newaxis]).astype(dtype)


def picture_of(array: Array, feature: Feature) -> Image:
    """The picture of an output tensor [1, C, H, W]; values beyond 0 to 255 are cut off, fractions too.

    Colours come as RGBA, opaque, as they do from Apple's runtime.
    """
    from PIL import Image

    planes = array.reshape(array.shape[-3:]).astype(np.float32)
    if feature.colours == "GRAYSCALE_FLOAT16":
        return Image.fromarray(planes[0], mode="F")
    pixels = np.clip(planes, 0, 255).astype(np.uint8)
    if feature.colours == "GRAYSCALE":
        return Image.fromarray(pixels[0], mode="L")
    ordered = pixels[::-1] if feature.colours == "BGR" else pixels
    return Image.fromarray(np.ascontiguousarray(ordered.transpose(1, 2, 0)), mode="RGB").convert("RGBA")
