"""Tensor files, archives and graph.quant: against the nnef package, and against hostile content."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.nnef import khronos
from workbench import limits
from workbench.errors import LimitError, ModelError, SaveError
from workbench.formats.nnef.archive import open_folder, pack
from workbench.formats.nnef.quantization import parse_quantization, print_quantization
from workbench.formats.nnef.tensors import HEADER_SIZE, map_tensor, read_header, write_tensor

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "bool"]
SHAPES: list[tuple[int, ...]] = [(), (1,), (3, 5), (2, 1, 3, 2), (0, 4), (1, 1, 1, 1, 1, 1, 1, 2)]


def sample(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).normal(size=shape) * 50
    return (values > 0) if dtype == "bool" else values.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensor_files_are_those_of_the_nnef_package(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    import nnef

    array = sample(dtype, shape)
    write_tensor(tmp_path / "own.dat", array)
    with (tmp_path / "theirs.dat").open("wb") as handle:
        nnef.write_tensor(handle, array)
    assert (tmp_path / "own.dat").read_bytes() == (tmp_path / "theirs.dat").read_bytes()
    back = map_tensor(tmp_path / "theirs.dat")
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u2"])
def test_quantized_items(dtype: str, tmp_path: Path) -> None:
    import nnef

    array = sample(dtype, (2, 3))
    write_tensor(tmp_path / "q.dat", array, quantized=True)
    assert read_header(tmp_path / "q.dat").quantized
    with (tmp_path / "q.dat").open("rb") as handle:
        theirs, quantized = nnef.read_tensor(handle, return_quantization=True)
    assert quantized
    np.testing.assert_array_equal(theirs, array)
    np.testing.assert_array_equal(map_tensor(tmp_path / "q.dat"), array)


def test_reading_maps_and_does_not_copy(tmp_path: Path) -> None:
    write_tensor(tmp_path / "a.dat", np.arange(12, dtype=np.float32).reshape(3, 4))
    assert isinstance(map_tensor(tmp_path / "a.dat"), np.memmap)
    assert map_tensor(tmp_path / "a.dat").offset == HEADER_SIZE


def test_arrays_that_are_not_contiguous(tmp_path: Path) -> None:
    array = np.arange(24, dtype=">f4").reshape(4, 6)[::2, ::-1]
    write_tensor(tmp_path / "a.dat", array)
    np.testing.assert_array_equal(map_tensor(tmp_path / "a.dat"), array)


def test_signed_integers_of_old_writers(tmp_path: Path) -> None:
    write_tensor(tmp_path / "a.dat", np.array([-1, 2], dtype=np.int8))
    data = bytearray((tmp_path / "a.dat").read_bytes())
    data[48:52] = struct.pack("<I", 1)
    data[52:56] = struct.pack("<I", 1)
    (tmp_path / "a.dat").write_bytes(data)
    np.testing.assert_array_equal(map_tensor(tmp_path / "a.dat"), np.array([-1, 2], dtype=np.int8))


# name → (offset in the header, bytes, words of the message)
DAMAGE = {
    "magic": (0, b"XX", "not an NNEF tensor file"),
    "version": (2, b"\x02", "version 2.0"),
    "length": (4, struct.pack("<I", 7), "do not fit"),
    "rank": (8, struct.pack("<I", 9), "rank 9"),
    "extent": (12, struct.pack("<I", 2**20), "do not fit"),
    "bits": (44, struct.pack("<I", 7), "7 bits"),
    "type": (48, struct.pack("<I", 77), "type 77"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_tensor_files(name: str, tmp_path: Path) -> None:
    offset, replacement, words = DAMAGE[name]
    path = tmp_path / "a.dat"
    write_tensor(path, np.zeros((1, 3), dtype=np.float32))
    data = bytearray(path.read_bytes())
    data[offset : offset + len(replacement)] = replacement
    path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        read_header(path)


def test_product_of_extents_does_not_wrap(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    extents = [2**31] * 8
    path.write_bytes(struct.pack("<2s2BII8III76s", b"\x4e\xef", 1, 0, 0, 8, *extents, 32, 0, bytes(76)))
    with pytest.raises(LimitError, match="tensor_elements"):
        read_header(path)


@pytest.mark.parametrize("keep", [0, 100, 130])
def test_cut_off_tensor_files(keep: int, tmp_path: Path) -> None:
    write_tensor(tmp_path / "a.dat", np.zeros(8, dtype=np.float32))
    (tmp_path / "a.dat").write_bytes((tmp_path / "a.dat").read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"a\.dat"):
        read_header(tmp_path / "a.dat")


@pytest.mark.parametrize("array", [np.zeros(2, dtype=complex), np.zeros((1,) * 9), np.array(["a"])])
def test_what_no_tensor_file_can_hold(array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"a\.dat"):
        write_tensor(tmp_path / "a.dat", array)


# archives


def model_folder(root: Path) -> Path:
    root.mkdir()
    (root / "graph.nnef").write_text("version 1.0;")
    (root / "block").mkdir()
    write_tensor(root / "block" / "w.dat", np.arange(6, dtype=np.float32))
    return root


@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".tar", ".zip", ".nnef.tgz"])
def test_archives_are_opened_and_byte_identical(suffix: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    pack(folder, tmp_path / f"a{suffix}")
    os.utime(folder / "graph.nnef", (1, 1))
    (folder / "graph.nnef").chmod(0o600)
    pack(folder, tmp_path / f"other{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"other{suffix}").read_bytes()
    opened = open_folder(tmp_path / f"a{suffix}")
    assert (opened.root / "graph.nnef").read_text() == "version 1.0;"
    np.testing.assert_array_equal(map_tensor(opened.root / "block" / "w.dat"), np.arange(6))
    root = opened.root
    opened.close()
    assert not root.exists()


def test_folder_inside_an_archive(tmp_path: Path) -> None:
    model_folder(tmp_path / "outer").rename(tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner").rename(tmp_path / "outer" / "model")
    pack(tmp_path / "outer", tmp_path / "a.tgz")
    opened = open_folder(tmp_path / "a.tgz")
    assert (opened.root / "block" / "w.dat").is_file()
    opened.close()


def tar_with(*members: tarfile.TarInfo, content: bytes = b"version 1.0;") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def zip_with(name: str, mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "version 1.0;")
    return stream.getvalue()


HOSTILE = {
    "dots": tar_with(member("graph.nnef"), member("../evil.dat")),
    "absolute": tar_with(member("graph.nnef"), member("/evil.dat")),
    "backslash": tar_with(member("graph.nnef"), member("..\\evil.dat")),
    "drive": tar_with(member("graph.nnef"), member("C:evil.dat")),
    "symbolic link": tar_with(member("graph.nnef", tarfile.SYMTYPE, "/etc/passwd")),
    "hard link": tar_with(member("graph.nnef"), member("w.dat", tarfile.LNKTYPE, "graph.nnef")),
    "device": tar_with(member("graph.nnef"), member("w.dat", tarfile.CHRTYPE)),
    "pipe": tar_with(member("graph.nnef"), member("w.dat", tarfile.FIFOTYPE)),
    "twice": tar_with(member("graph.nnef"), member("graph.nnef")),
    "no graph": tar_with(member("other.txt")),
    "zip dots": zip_with("../graph.nnef"),
    "zip link": zip_with("graph.nnef", 0o120777),
    "cut off": tar_with(member("graph.nnef"))[:-20],
    "noise in gzip": b"\x1f\x8b\x08" + bytes(range(200)),
    "noise in zip": b"PK\x03\x04" + bytes(range(200)),
    "empty gzip": b"\x1f\x8b",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(name: str, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "model.tgz"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ModelError, match=r"model\.tgz"):
        open_folder(path)
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["inside", "model.tgz"]


def test_unpacked_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "current", limits.Limits(archive_bytes=1 << 20, archive_members=3))
    (tmp_path / "bomb.tgz").write_bytes(tar_with(member("graph.nnef"), content=bytes(1 << 21)))
    with pytest.raises(LimitError, match="archive_bytes"):
        open_folder(tmp_path / "bomb.tgz")
    (tmp_path / "many.tgz").write_bytes(tar_with(*(member(f"{index}.dat") for index in range(5))))
    with pytest.raises(LimitError, match="archive_members"):
        open_folder(tmp_path / "many.tgz")


def test_giant_extended_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pax.tgz").write_bytes(tar_with(member("x" * (2 << 20)), content=b""))
    with pytest.raises(ModelError, match="tar header"):
        open_folder(tmp_path / "pax.tgz")


# graph.quant

QUANT = (
    '"v": zero_point_linear_quantize(zero_point = 3, scale = 0.5, bits = 8, signed = true, symmetric = false);\n'
    '"y": linear_quantize(min = -1.0, max = 1.0, bits = 8);\n'
)


def test_quantization_is_what_the_reference_parser_says() -> None:
    text = (
        "version 1.0; graph g(x) -> (y) { x = external(shape = [1]); v = variable(shape = [1], label = 'v'); "
        "y = add(x, v); }"
    )
    expected = khronos.parse([{"text": text, "quant": QUANT}])[0]["quantization"]
    ours = parse_quantization(QUANT)
    assert ours.keys() == {"v", "y"}
    for name, entry in ours.items():
        theirs = dict(expected[name])
        assert theirs.pop("op-name") == entry.operation
        assert theirs == pytest.approx(entry.arguments)
    assert parse_quantization(print_quantization(ours)) == ours


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"v": relu();', "relu is not a quantisation operation"),
        ('"v": linear_quantize(min = 0.0, max = 1.0);', "lacks the argument 'bits'"),
        ('"v": linear_quantize(min = 0.0, max = 1.0, bits = 8.0);', "expected integer"),
        (QUANT + QUANT, "given twice"),
        ('"v": linear_quantize(min = 0.0, max = 1.0, bits = 2147483648);', "it is 1 to 64"),
        ('"v": linear_quantize(min = a, max = 1.0, bits = 8);', "literal"),
        ("v: linear_quantize();", "expected"),
    ],
)
def test_bad_quantization(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        parse_quantization(text, "graph.quant")
