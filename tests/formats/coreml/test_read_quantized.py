"""Convolutions with quantised weights, against the formula that defines them and PyTorch's convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, palette_convolution
from workbench.errors import ConversionError, ModelError

torch = pytest.importorskip("torch")
F = torch.nn.functional


def quantised(**options: Any) -> Any:
    codes = np.arange(6 * 3 * 9, dtype=np.uint8).reshape(6, 3, 3, 3) % 16
    given = {"quantization_type": "linear", "quant_scale": np.float32(0.25), "quant_bias": np.float32(-2), **options}
    return lambda mb, x: mb.conv_quantized(x=x, weight=codes, **given)


def by_formula(scale: Any, shift: Any, bias: Any = None) -> Any:
    codes = np.arange(6 * 3 * 9, dtype=np.float32).reshape(6, 3, 3, 3) % 16
    weight = codes * np.reshape(scale, (-1, 1, 1, 1)) + np.reshape(shift, (-1, 1, 1, 1))
    offset = None if bias is None else torch.from_numpy(np.float32(bias))
    return lambda x: F.conv2d(torch.from_numpy(x), torch.from_numpy(weight.astype(np.float32)), offset)


SCALES, SHIFTS, BIAS = np.linspace(0.1, 0.6, 6, dtype=np.float32), np.arange(6, dtype=np.float32) - 3, np.arange(6)


@pytest.mark.parametrize(
    ("build", "expect"),
    [
        (quantised(), by_formula(0.25, -2)),
        (quantised(nbits=4, bias=BIAS.astype(np.uint8)), by_formula(0.25, -2, BIAS)),
        (quantised(quant_scale=SCALES, quant_bias=SHIFTS), by_formula(SCALES, SHIFTS)),
    ],
    ids=["whole", "4-bits-and-bias", "by-channel"],
)
def test_conv_quantized(build: Any, expect: Any) -> None:
    """``W_float = W_quantized * scale + bias``; coremltools infers no values, so the formula is the oracle."""
    x = np.random.default_rng(17).normal(size=(2, 3, 6, 5)).astype(np.float32)
    check(Case("conv_quantized", build, {"x": x}, expect, rtol=1e-4, atol=1e-4))


def test_a_palette_without_a_table_is_refused() -> None:
    with pytest.raises(ConversionError, match="quantization_type = 'lut': no parameter has the table"):
        check(Case("lut", palette_convolution, {"x": np.ones((1, 2, 3, 4), np.float32)}, np.copy))


def test_scales_of_another_number_than_the_channels_are_refused() -> None:
    build = quantised(quant_scale=np.ones(3, np.float32))
    with pytest.raises(ConversionError, match="one for each of the 6 channels"):
        check(Case("scales", build, {"x": np.ones((1, 3, 4, 4), np.float32)}, np.copy))


def test_codes_beyond_their_bits_are_an_error() -> None:
    with pytest.raises(ModelError, match="does not fit into 3 bits"):
        check(Case("bits", quantised(nbits=3), {"x": np.ones((1, 3, 4, 4), np.float32)}, np.copy))
