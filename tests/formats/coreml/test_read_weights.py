"""Weight files and compressed weights: own readers against coremltools' storage library and decompression."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, compare, package, run
from workbench.errors import ModelError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.blob import BlobFile
from workbench.formats.coreml.read import read

RNG = np.random.default_rng(3)
WRITERS = {
    "float32": "float", "float16": "fp16", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16",
    "int32": "int32", "uint32": "uint32", "int4": "int4", "uint1": "uint1", "uint2": "uint2", "uint3": "uint3",
    "uint4": "uint4", "uint6": "uint6",
}  # fmt: skip


def elements(dtype: str) -> np.ndarray[Any, Any]:
    """Thirteen elements over the whole range, so that the last byte of a packed dtype is not full."""
    if dtype.startswith("float"):
        return RNG.normal(size=13).astype(dtype)
    bits, signed = int(dtype.lstrip("uint")), not dtype.startswith("u")
    low = -(1 << bits - 1) if signed else 0
    values = RNG.integers(low, low + (1 << bits), size=13)
    values[:2] = low, low + (1 << bits) - 1
    return values.astype(dtype if bits >= 8 else "int8" if signed else "uint8")


def test_every_dtype_of_the_storage_format(tmp_path: Path) -> None:
    writer = toolkit.submodule("libmilstoragepython")._BlobStorageWriter(str(tmp_path / "weight.bin"))
    written = {dtype: elements(dtype) for dtype in WRITERS}
    offsets = {
        dtype: getattr(writer, f"write_{WRITERS[dtype]}_data")(
            array.view(np.uint16) if dtype == "float16" else array
        )
        for dtype, array in written.items()
    }  # fmt: skip
    del writer
    file = BlobFile(tmp_path / "weight.bin")
    for dtype, array in written.items():
        found = file.read(offsets[dtype])
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.data, array, err_msg=dtype)
        if array.dtype == np.dtype(dtype if dtype in np.sctypeDict else "void"):
            assert isinstance(found.data, np.memmap), "a weight of whole bytes is mapped, not copied"


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "no metadata record": lambda data: data.__setitem__(slice(64, 68), b"\0\0\0\0"),
    "dtype number 99": lambda data: data.__setitem__(slice(68, 72), (99).to_bytes(4, "little")),
    "claim": lambda data: data.__setitem__(slice(72, 80), (2**63).to_bytes(8, "little")),
    "storage version": lambda data: data.__setitem__(slice(4, 8), b"\1\0\0\0"),
    "boundary": lambda data: data.__delitem__(slice(80, None)),
}


@pytest.mark.parametrize("cause", DAMAGES)
def test_damaged_weight_files(cause: str, tmp_path: Path) -> None:
    writer = toolkit.submodule("libmilstoragepython")._BlobStorageWriter(str(tmp_path / "good.bin"))
    offset = writer.write_float_data(np.arange(20, dtype=np.float32))
    del writer
    data = bytearray((tmp_path / "good.bin").read_bytes())
    DAMAGES[cause](data)
    (tmp_path / "bad.bin").write_bytes(data)
    with pytest.raises(ModelError, match=cause):
        BlobFile(tmp_path / "bad.bin").read(offset)


X = RNG.normal(size=(2, 6)).astype(np.float32)
U8 = RNG.integers(0, 256, size=(4, 6)).astype(np.uint8)
MASK = RNG.integers(0, 2, size=(4, 6)).astype(np.uint8)
NONZERO = RNG.normal(size=int(MASK.sum())).astype(np.float32)
LUT = RNG.normal(size=(2, 1, 4, 1)).astype(np.float32)
VECTORS = RNG.normal(size=(1, 1, 4, 2)).astype(np.float32)


def sub_byte(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """An array of one of coremltools' sub-byte dtypes."""
    types = toolkit.submodule("converters.mil.mil.types")
    return array.astype(types.nptype_from_builtin(types.string_to_builtin(name)))


def affine(mb: Any) -> Any:
    return mb.constexpr_affine_dequantize(
        quantized_data=U8, zero_point=np.asarray([3, 9, 0, 255], np.uint8), axis=0,
        scale=np.asarray([1, 2, 0.5, 3], np.float32),
    )  # fmt: skip


def palette(mb: Any) -> Any:
    """64 colours: indices of six bits, packed across bytes."""
    lut = RNG.normal(size=64).astype(np.float32)
    packed = RNG.integers(0, 256, size=18).astype(np.uint8)
    return mb.constexpr_lut_to_dense(indices=packed, lut=lut, shape=np.asarray([4, 6], np.uint32))


def sparse_of_palette(mb: Any) -> Any:
    indices = sub_byte(RNG.integers(0, 4, size=int(MASK.sum())), "uint2")
    mask, data = mb.constexpr_lut_to_sparse(indices_mask=sub_byte(MASK, "uint1"), indices_nonzero_data=indices, lut=LUT)
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)


def sparse_of_scaled(mb: Any) -> Any:
    data = RNG.integers(-8, 8, size=int(MASK.sum()))
    scale = RNG.normal(size=(2, 3)).astype(np.float32)
    mask, scaled = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=sub_byte(MASK, "uint1"), nonzero_data=sub_byte(data, "int4"), scale=scale
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=scaled, mask=mask)


COMPRESSED: list[tuple[str, int, Callable[[Any], Any]]] = [
    ("affine", 16, affine),
    ("cast", 16, lambda mb: mb.constexpr_cast(source_val=X[:1].repeat(4, 0).astype(np.float16), output_dtype="fp32")),
    ("palette", 16, palette),
    (
        "sparse", 16, lambda mb: mb.constexpr_sparse_to_dense(
            nonzero_data=NONZERO, mask=np.packbits(MASK.reshape(-1), bitorder="little"), shape=np.uint32([4, 6])
        ),
    ),
    (
        "blockwise-int4", 18, lambda mb: mb.constexpr_blockwise_shift_scale(
            data=sub_byte(RNG.integers(-8, 8, size=(4, 6)), "int4"), scale=RNG.normal(size=(2, 3)).astype(np.float32),
            offset=sub_byte(RNG.integers(-8, 8, size=(2, 3)), "int4"),
        ),
    ),
    (
        "palette-by-group", 18, lambda mb: mb.constexpr_lut_to_dense(
            indices=sub_byte(RNG.integers(0, 4, size=(4, 6)), "uint2"), lut=LUT
        ),
    ),
    (
        "palette-of-vectors", 18, lambda mb: mb.constexpr_lut_to_dense(
            indices=sub_byte(RNG.integers(0, 4, size=(2, 6)), "uint2"), lut=VECTORS, vector_axis=0
        ),
    ),
    ("sparse-uint1", 18, lambda mb: mb.constexpr_sparse_to_dense(nonzero_data=NONZERO, mask=sub_byte(MASK, "uint1"))),
    ("sparse-of-palette", 18, sparse_of_palette),
    ("sparse-of-scaled", 18, sparse_of_scaled),
]  # fmt: skip


@pytest.mark.parametrize(("name", "release", "make"), COMPRESSED, ids=[row[0] for row in COMPRESSED])
def test_compressed_weights(name: str, release: int, make: Callable[[Any], Any]) -> None:
    """``x @ weight.T`` with the weight as coremltools decompresses it."""
    weights = []

    def build(mb: Any, x: Any) -> Any:
        made = make(mb)
        weights.append(made.op.materialized_val_inference())
        return mb.linear(x=x, weight=made)

    with tempfile.TemporaryDirectory() as folder:
        document = read(package(Case(name, build, {"x": X}, release=release), Path(folder)))
        assert any(layer.operator.startswith("constexpr_") for layer in document.layers)
        compare(run(document, {"x": X}), [X @ weights[0].T], rtol=1e-5, atol=1e-5)
