"""A small trained network that comes with the package, for a first look (``scripts/train_digits.py`` made it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_FOLDER = Path(__file__).parent


def digits() -> Path:
    """Path of ``digits.onnx``: a convolutional network that reads handwritten digits.

    It was trained by us on the 8 × 8 digits of scikit-learn (UCI ML repository, E. Alpaydin and C. Kaynak, 1998). Input
    ``image``: float32[batch, 1, 8, 8], grey values 0 … 16; output ``probabilities``: float32[batch, 10].
    """
    return _FOLDER / "digits.onnx"


def digit_images() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images that the network has not seen, and what they show: float32[20, 1, 8, 8] and int64[20]."""
    with np.load(_FOLDER / "digits.npz") as data:
        return data["image"], data["digit"]
