"""Core ML's files: finding specification and weights without leaving the model's folder, and writing them.

A model is a protobuf message (``.mlmodel``), alone or in a package: a folder (``.mlpackage``) whose ``Manifest.json``
names the message, with its weights beside it; a compiled model, a folder (``.mlmodelc``) with the program as text; or a
zip archive of such a folder.
https://apple.github.io/coremltools/docs-guides/source/convert-to-ml-program.html
"""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from workbench import limits
from workbench.errors import ModelError, SaveError
from workbench.files import contained, inner_parts, is_folder, shown
from workbench.formats.coreml import compiled

MANIFEST = "Manifest.json"
_AUTHOR = "com.apple.CoreML"
_SPEC = f"{_AUTHOR}/model.mlmodel"
_WEIGHTS = f"{_AUTHOR}/weights"
_MODEL_PATH = "@model_path/"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can say: archives are the same from run to run


@dataclass(frozen=True)
class Package:
    """A model's files.

    Attributes:
        label: what messages call it.
        spec: the serialised ``Model`` message.
        folder: the folder that ``@model_path`` stands for; ``None`` where there is none, so no weights either.
        keep: what has to live as long as the weights are read (a temporary folder, coremltools' own model).
    """

    label: str
    spec: bytes
    folder: Path | None = None
    keep: object = field(default=None, repr=False)

    def blob(self, file_name: str) -> Path:
        """The weight file that a program calls ``@model_path/weights/weight.bin``.

        Raises:
            ModelError: there is no such file, or it is not a plain file of the package.
        """
        if not file_name.startswith(_MODEL_PATH):
            raise ModelError(
                f"{self.label}: the weight file {file_name!r} is not inside the package; nothing was read."
            )
        if self.folder is None:
            raise ModelError(
                f"{self.label}: the weights are in {file_name!r}, but the model came without its package; "
                "load the .mlpackage, or hand over coremltools' MLModel instead of its specification."
            )
        path = contained(self.folder, file_name.removeprefix(_MODEL_PATH), what="weight file")
        limits.check("file_bytes", path.stat().st_size, str(path))
        return path


# -- reading ------------------------------------------------------------------------------------------------------


def is_package(path: Path) -> bool:
    """Whether the folder is a Core ML package or a compiled Core ML model."""
    if compiled.is_compiled(path):
        return True
    return (path / MANIFEST).is_file() and any(path.glob("Data/*/*.mlmodel"))


def is_archive(path: Path) -> bool:
    """Whether the file is a zip archive with a Core ML package or a compiled Core ML model in it."""
    with path.open("rb") as handle:
        if handle.read(4) != b"PK\x03\x04":
            return False
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(name).name for name in archive.namelist()]
    if compiled.DATA in names or compiled.TEXT in names:
        return True
    return MANIFEST in names and any(name.endswith(".mlmodel") for name in names)


def is_spec(path: Path) -> bool:
    """Whether the file is a serialised ``Model`` message, judged by its outermost fields alone.

    An ONNX file begins with the same two tags (a version number and field 2); but every Core ML model has a field from
    200 on, its type, and an ONNX model has none.
    """
    with path.open("rb") as handle:
        if handle.read(1) != b"\x08":
            return False
        handle.seek(0)
        fields = set(_fields(handle, path.stat().st_size))
    return 1 in fields and max(fields) >= 200 and fields <= {1, 2, 10} | set(range(200, 4000))


def _fields(handle: BinaryIO, size: int) -> Iterator[int]:
    """Numbers of the outermost protobuf fields; a malformed end yields 0, which no message has."""
    while handle.tell() < size:
        tag = _varint(handle)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _varint(handle)
        elif wire == 2:
            length = _varint(handle)
            if handle.tell() + length > size:
                number = 0
            handle.seek(length, 1)
        else:  # the message has no field of another wire type on its outermost level
            number = 0
        yield number
        if number == 0:
            return


def _varint(handle: BinaryIO) -> int:
    result = 0
    for shift in range(0, 70, 7):
        byte = handle.read(1)
        if not byte:
            return 0
        result |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    return result


def open_package(path: Path) -> Package:
    """Read the specification at ``path`` (folder, archive or ``.mlmodel``); the weights stay where they are.

    The specification of a compiled model is made again from its text.

    Raises:
        ModelError: nothing readable is there, or a name in it leads out of the folder.
        LimitError: a file is larger than :mod:`workbench.limits` allows.
    """
    if path.is_dir():
        return _open_folder(path, str(path))
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic == b"PK\x03\x04":
        return _open_archive(path)
    return Package(str(path), _read(path))


def _open_folder(path: Path, label: str, keep: object = None) -> Package:
    if not (path / MANIFEST).exists() and compiled.is_compiled(path):
        return Package(label, compiled.read_compiled(path, label), path, keep)
    spec = contained(path, f"Data/{_spec_name(path, label)}", what="model specification")
    return Package(label, _read(spec), spec.parent, keep)


def _spec_name(path: Path, label: str) -> str:
    """The manifest's path of the root model, relative to the folder ``Data``."""
    manifest = contained(path, MANIFEST, what="manifest")
    limits.check("text_bytes", manifest.stat().st_size, str(manifest))
    try:
        data = json.loads(manifest.read_bytes())
        name = data["itemInfoEntries"][data["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{label}: {MANIFEST} does not name the root model ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(name, str):
        raise ModelError(f"{label}: {MANIFEST} has {name!r} as the path of the root model.")
    return name


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: not a regular file.")
    limits.check("file_bytes", status.st_size, str(path))
    return path.read_bytes()


def _open_archive(path: Path) -> Package:
    """Unpack the package of an archive into a temporary folder that lives as long as the :class:`Package`."""
    limits.check("file_bytes", path.stat().st_size, str(path))
    keep = tempfile.TemporaryDirectory(prefix="workbench-coreml-", ignore_cleanup_errors=True)
    root = Path(keep.name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not is_folder(member)]
            limits.check("archive_members", len(members), str(path))
            limits.check("archive_bytes", sum(member.file_size for member in members), str(path))
            outside = next((member for member in members if inner_parts(member.filename) is None), None)
            if outside is not None:
                raise _escaping(path, outside)
            base = _package_in(members, path)
            for member in members:
                name = PurePosixPath(member.filename)
                if base == name.parent or base in name.parents:
                    _unpack(archive, member, root, name.relative_to(base), path)
        return _open_folder(root, str(path), keep)
    except OSError as error:
        raise ModelError(f"{path}: the archive cannot be unpacked ({error.strerror or error}).") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error) as error:
        raise ModelError(f"{path}: the archive cannot be unpacked ({error}).") from error


def _package_in(members: list[zipfile.ZipInfo], path: Path) -> PurePosixPath:
    """The folder of the one package, or else of the one compiled model, that the archive holds."""
    names = [PurePosixPath(member.filename) for member in members]
    found = {name.parent for name in names if name.name == MANIFEST}
    if not found:
        made = {name.parent for name in names if name.name in (compiled.DATA, compiled.TEXT)}
        found = {folder for folder in made if not made.intersection(folder.parents)}  # a compiled model has such parts
    if len(found) != 1:
        raise ModelError(f"{path}: the archive holds {len(found)} packages, exactly one is expected.")
    return found.pop()


def _escaping(path: Path, member: zipfile.ZipInfo) -> ModelError:
    return ModelError(f"{path}: the archive's member {shown(member.filename)} would lie outside it; nothing was read.")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path, name: PurePosixPath, path: Path) -> None:
    parts = inner_parts(str(name))
    if parts is None or "\\" in member.filename:
        raise _escaping(path, member)
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ModelError(f"{path}: the archive's member {shown(member.filename)} is no plain file; links are refused.")
    target = root.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size  # a member may unpack to more than it says
    with archive.open(member) as source, target.open("xb") as copy:
        while chunk := source.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                raise ModelError(f"{path}: the archive's member {member.filename!r} is longer than the archive says.")
            copy.write(chunk)


# -- writing ------------------------------------------------------------------------------------------------------


def write_package(path: Path, spec: bytes, weights: Path | Mapping[str, Path] | None, *, move: bool = False) -> None:
    """Write a model to the not yet existing ``path``, the same bytes at every call.

    Args:
        path: a folder (``.mlpackage``), an archive (``.zip``) or, for models without weight file, a ``.mlmodel``.
        spec: the serialised ``Model`` message.
        weights: the file that the message calls ``@model_path/weights/weight.bin``; of several files, each by its name
            in that folder.
        move: take the file away from where it is; only for a folder.

    Raises:
        SaveError: the form cannot hold the model.
    """
    if path.suffix == ".zip":
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            package = Path(folder) / "model.mlpackage"
            write_package(package, spec, weights)
            _zip(package, path)
    elif path.suffix == ".mlmodel":
        if weights:
            raise SaveError(f"{path.name}: a .mlmodel has no place for a weight file; save it as .mlpackage.")
        path.write_bytes(spec)
    elif path.suffix == ".mlmodelc":
        raise SaveError(f"{path.name}: only Apple's coremlc compiles a model; save it as .mlpackage.")
    else:
        _write_folder(path, spec, weights, shutil.move if move else shutil.copyfile)


def _write_folder(
    path: Path, spec: bytes, weights: Path | Mapping[str, Path] | None, put: Callable[[Path, Path], object]
) -> None:
    items = {_SPEC: ("model.mlmodel", "CoreML Model Specification")}
    target = path / "Data" / _SPEC
    target.parent.mkdir(parents=True)
    target.write_bytes(spec)
    if weights:
        items[_WEIGHTS] = ("weights", "CoreML Model Weights")
        folder = path / "Data" / _WEIGHTS
        folder.mkdir()
        for name, file in weights.items() if isinstance(weights, Mapping) else [("weight.bin", weights)]:
            put(file, folder / name)
    entries = {
        _identifier(name): {"author": _AUTHOR, "description": description, "name": short, "path": name}
        for name, (short, description) in items.items()
    }
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": _identifier(_SPEC)}
    (path / MANIFEST).write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")


def _identifier(name: str) -> str:
    """The manifest wants UUIDs that differ inside one package; derived from the name they never change."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name)).upper()


def _zip(package: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file():
                member = zipfile.ZipInfo(file.relative_to(package.parent).as_posix(), _ZIP_TIME)
                member.external_attr = 0o644 << 16
                with file.open("rb") as source, archive.open(member, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
