"""Packages, archives and files: recognised by content, read without leaving their folder, written the same twice."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.formats.coreml.reading import Case, outcome, package, run
from workbench import limits
from workbench.errors import ConversionError, LimitError, ModelError, SaveError
from workbench.files import replacing
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.package import write_package
from workbench.formats.coreml.read import read

X = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(8, 40)).astype(np.float32)
LINEAR = Case("linear", lambda mb, x: mb.linear(x=x, weight=WEIGHT), {"x": X})
SPEC = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with a weight file."""
    (tmp_path / "made").mkdir()
    return package(LINEAR, tmp_path / "made")


def result(source: Path | object) -> np.ndarray[Any, Any]:
    return run(read(source), {"x": X})[0]


def test_every_way_to_hand_over_a_model(folder: Path, tmp_path: Path) -> None:
    expected = X @ WEIGHT.T
    archive = tmp_path / "model.mlpackage.zip"
    write_package(archive, (folder / SPEC).read_bytes(), folder / WEIGHTS)
    model = toolkit.coremltools().models.MLModel(str(folder), skip_model_load=True)
    for source in (folder, archive, model):
        assert (FORMAT.claims if isinstance(source, Path) else FORMAT.adopts)(source)  # type: ignore[operator]
        np.testing.assert_allclose(result(source), expected, rtol=1e-5, atol=1e-5)
    message = model.get_spec()
    assert FORMAT.adopts(message)
    with pytest.raises(ModelError, match="came without its package"):
        read(message).hub()


def test_onnx_files_and_other_folders_are_not_claimed(folder: Path, tmp_path: Path) -> None:
    """An ONNX file begins with the same two protobuf tags as a Core ML model."""
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="p"), tmp_path / "model.mlmodel")
    assert not FORMAT.claims(tmp_path / "model.mlmodel")
    assert not FORMAT.claims(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04 but no more")
    assert not FORMAT.claims(tmp_path / "empty")
    assert not FORMAT.claims(tmp_path / "zip")
    assert FORMAT.claims(folder / SPEC)


@pytest.mark.parametrize("suffix", [".mlpackage", ".mlpackage.zip"])
def test_saved_again_it_is_the_same_model_and_the_same_bytes(suffix: str, folder: Path, tmp_path: Path) -> None:
    document = read(folder)
    copies = [tmp_path / f"copy{index}{suffix}" for index in range(2)]
    for copy in copies:
        with replacing(copy) as partial:
            document.write(partial)
        np.testing.assert_array_equal(result(copy), result(folder))
    assert contents(copies[0]) == contents(copies[1])
    if suffix == ".mlpackage":
        loaded = toolkit.coremltools().models.MLModel(str(copies[0]), skip_model_load=True)
        assert loaded.weights_dir == str(copies[0] / "Data/com.apple.CoreML/weights")
    with pytest.raises(SaveError, match="save it as"), replacing(tmp_path / "copy.mlmodel") as partial:
        document.write(partial)


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# -- what must not happen ----------------------------------------------------------------------------------------------


def manifest_path(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = name
    (folder / "Manifest.json").write_text(json.dumps(manifest))


def blob_name(folder: Path, name: str) -> None:
    message = toolkit.model_pb2().Model()
    message.ParseFromString((folder / SPEC).read_bytes())
    block = message.mlProgram.functions["main"].block_specializations["CoreML5"]
    for operation in block.operations:
        value = operation.attributes["val"]
        if value.HasField("blobFileValue"):
            value.blobFileValue.fileName = name
    (folder / SPEC).write_bytes(message.SerializeToString())


def linked(path: Path, outside: Path, link: Callable[[Any, Any], None]) -> None:
    shutil.move(path, outside)
    link(outside, path)


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "manifest climbs out": (lambda folder: manifest_path(folder, "../../secret.mlmodel"), "outside the model's folder"),
    "manifest is absolute": (lambda folder: manifest_path(folder, "/etc/passwd"), "missing"),
    "weights climb out": (lambda folder: blob_name(folder, "@model_path/../../../secret.bin"), "outside the model's"),
    "weights are absolute": (lambda folder: blob_name(folder, "/secret.bin"), "not inside the package"),
    "weights are a link": (
        lambda folder: linked(folder / WEIGHTS, folder.parent / "secret.bin", os.symlink), "symbolic link"
    ),
    "weights are linked hard": (
        lambda folder: linked(folder / WEIGHTS, folder.parent / "secret.bin", os.link), "hard links"
    ),
    "specification is a link": (
        lambda folder: linked(folder / SPEC, folder.parent / "secret.mlmodel", os.symlink), "symbolic link"
    ),
    "weights are missing": (lambda folder: (folder / WEIGHTS).unlink(), "missing"),
    "weights are cut off": (lambda folder: os.truncate(folder / WEIGHTS, 200), "weights at offset"),
    "manifest is no JSON": (lambda folder: (folder / "Manifest.json").write_text("{" * 100), "does not name"),
    "manifest is nested": (lambda folder: (folder / "Manifest.json").write_text("[" * 100_000), "does not name"),
    "manifest names nothing": (lambda folder: (folder / "Manifest.json").write_text("{}"), "does not name"),
    "specification is cut off": (lambda folder: os.truncate(folder / SPEC, 300), "damaged"),
    "specification is empty": (lambda folder: os.truncate(folder / SPEC, 0), "empty"),
    "weights belong to another model": (
        lambda folder: (folder / WEIGHTS).write_bytes(b"\1\0\0\0\2\0\0\0" + bytes(400)), "no metadata record"
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_and_hostile_packages(attack: str, folder: Path) -> None:
    spoil, cause = ATTACKS[attack]
    spoil(folder)
    with pytest.raises(ModelError, match=cause) as caught:
        read(folder).hub()
    assert str(folder) in str(caught.value)


def test_archives_cannot_reach_outside_or_explode(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in contents(folder).items():
            out.writestr(f"m/{name}", data)
        out.writestr("m/../../escaped", b"x")
    with pytest.raises(ModelError, match="outside"):
        read(archive)
    assert not (tmp_path.parent / "escaped").exists()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("m/Manifest.json", (folder / "Manifest.json").read_bytes())
        out.writestr("m/Data/com.apple.CoreML/model.mlmodel", bytes(1 << 20))
    monkeypatch.setattr(limits, "current", limits.Limits(archive_bytes=1 << 16))
    with pytest.raises(LimitError, match="archive_bytes"):
        read(archive)


def test_compiled_models_and_other_kinds_are_named(folder: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "model.mlmodelc"
    compiled.mkdir()
    (compiled / "coremldata.bin").write_bytes(b"x")
    assert FORMAT.claims(compiled)
    with pytest.raises(ModelError, match="compiled"):
        read(compiled)
    message = toolkit.model_pb2().Model(specificationVersion=1)
    message.wordTagger.SetInParent()
    (tmp_path / "tagger.mlmodel").write_bytes(message.SerializeToString())
    with pytest.raises(ConversionError, match="wordTagger"):
        read(tmp_path / "tagger.mlmodel").hub()


def test_mutated_specifications_raise_typed_errors_only(folder: Path) -> None:
    """300 files with a few bytes changed: each is read, or refused with one of our own errors."""
    original = (folder / SPEC).read_bytes()
    rng = np.random.default_rng(42)
    outcomes = set()
    for _ in range(300):
        data = bytearray(original)
        for place in rng.integers(0, len(data), size=rng.integers(1, 4)):
            data[place] = int(rng.integers(0, 256))
        (folder / SPEC).write_bytes(data)
        outcomes.add(outcome(folder))
    assert {"read", "ModelError"} <= outcomes
