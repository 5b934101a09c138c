"""Core ML packages, models and compiled models that reach outside or contradict themselves."""

# ruff: noqa: E501  (a crafted file is one line of a table)

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile import wire
from tests.hostile.corpus.case import ESCAPES, WAYS, Escape, Hostile, outside_of
from tests.hostile.seeds import sound
from workbench.formats.coreml import toolkit

SPEC = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def package(change: Callable[[Path], object], index: int = 0) -> Callable[[Path], Path]:
    """A sound package in which ``change`` spoils something; it gets the package's folder."""

    def make(folder: Path) -> Path:
        path = sound("mlpackage", index).write(folder)
        change(path)
        return path

    return make


def message_of(path: Path) -> Any:
    """The specification of a package."""
    message = toolkit.model_pb2().Model()
    message.ParseFromString((path / SPEC).read_bytes())
    return message


def specification(change: Callable[[Any], object], index: int = 0) -> Callable[[Path], Path]:
    """A package whose specification is changed."""

    def spoil(path: Path) -> None:
        message = message_of(path)
        change(message)
        (path / SPEC).write_bytes(message.SerializeToString())

    return package(spoil, index)


def block_of(message: Any) -> Any:
    """The one block of the program."""
    (block,) = message.mlProgram.functions["main"].block_specializations.values()
    return block


def blobs_of(message: Any) -> list[Any]:
    """Where the program refers to the weight file."""
    values = [value for op in block_of(message).operations for value in op.attributes.values()]
    return [value.blobFileValue for value in values if value.HasField("blobFileValue")]


def _manifest(change: Callable[[Any, Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        manifest = json.loads((path / "Manifest.json").read_text())
        made = change(manifest, path)
        (path / "Manifest.json").write_text(json.dumps(manifest if made is None else made))

    return spoil


def _root_path(escape: Escape) -> Callable[[Path], Path]:
    """The manifest names the escape as the path of the root model; it is meant relative to ``Data``."""

    def change(manifest: Any, path: Path) -> None:
        escape.prepare(path.parent)
        for name in ("link", "linked", "hard", "pipe", "folder", "zero"):
            if (path.parent / name).is_symlink() or (path.parent / name).exists():
                (path.parent / name).rename(path / "Data" / name)
        text = escape.text(path.parent)
        text = text.replace("../", "../../../", 1) if text.startswith("../") else text
        manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = text

    return package(_manifest(change))


def _blob_name(escape: Escape, prefix: str) -> Callable[[Path], Path]:
    def spoil(path: Path) -> None:
        escape.prepare(path.parent)
        weights = path / "Data" / "com.apple.CoreML"
        for name in ("link", "linked", "hard", "pipe", "folder", "zero"):
            if (path.parent / name).is_symlink() or (path.parent / name).exists():
                (path.parent / name).rename(weights / name)
        message = message_of(path)
        for blob in blobs_of(message):
            blob.fileName = prefix + escape.text(path.parent).replace("../outside", "../../../../outside")
        (path / SPEC).write_bytes(message.SerializeToString())

    return package(spoil)


def _offset(value: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for blob in blobs_of(message):
            blob.offset = value

    return change


def _weights(offset: int, data: bytes) -> Callable[[Path], Path]:
    def spoil(path: Path) -> None:
        changed = bytearray((path / WEIGHTS).read_bytes())
        changed[offset : offset + len(data)] = data
        (path / WEIGHTS).write_bytes(changed)

    return package(spoil)


def _nested_blocks(depth: int) -> Callable[[Path], Path]:
    """Blocks in operations in blocks, in bytes: deeper than the protobuf parser goes."""

    def spoil(path: Path) -> None:
        data = b""
        for _ in range(depth):
            data = b"\x22" + wire.varint(len(data)) + data  # Operation.blocks = 4
            data = b"\x1a" + wire.varint(len(data)) + data  # Block.operations = 3
        (path / SPEC).write_bytes((path / SPEC).read_bytes() + _tag(502, data))

    return package(spoil)


def _tag(number: int, data: bytes) -> bytes:
    return wire.varint(number << 3 | 2) + wire.varint(len(data)) + data


def _pipelines(depth: int) -> Callable[[Path], Path]:
    """Pipelines in pipelines."""

    def make(folder: Path) -> Path:
        message = toolkit.model_pb2().Model(specificationVersion=1)
        inner = message
        for _ in range(depth):
            inner = inner.pipeline.models.add()
            inner.specificationVersion = 1
        inner.identity.SetInParent()
        path = folder / "model.mlmodel"
        path.write_bytes(message.SerializeToString())
        return path

    return make


def _first(message: Any, kind: str = "") -> Any:
    return next(
        op for op in block_of(message).operations if op.type not in ("const", "") and (not kind or op.type == kind)
    )


def _sizes(value: int) -> Callable[[Any], None]:
    """The sizes of all results of operations that are no constants."""

    def change(message: Any) -> None:
        for op in block_of(message).operations:
            if op.type == "const":
                continue
            for output in op.outputs:
                for dimension in output.type.tensorType.dimensions:
                    dimension.constant.size = value

    return change


_SPECIFICATIONS: dict[str, tuple[Callable[[Any], object], str]] = {
    "of no type": (lambda m: m.ClearField("mlProgram"), "load"),
    "of a type without a program": (lambda m: m.wordTagger.SetInParent(), "hub"),
    "without a function": (lambda m: m.mlProgram.functions.clear(), "load"),
    "whose block is of another operator set": (
        lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML99"), "load"),
    "whose outputs nobody makes": (lambda m: block_of(m).outputs.__setitem__(0, "nowhere"), "load"),
    "with an unknown operation": (lambda m: setattr(_first(m), "type", "frobnicate"), "hub"),
    "with an operation of no type": (lambda m: setattr(_first(m), "type", ""), "hub"),
    "with an operation that reads nothing": (lambda m: _first(m).inputs.clear(), "hub"),
    "with an operation that reads what nobody makes": (
        lambda m: setattr(next(iter(_first(m).inputs.values())).arguments[0], "name", "nowhere"), "hub"),
    "with an operation that makes nothing": (lambda m: _first(m).ClearField("outputs"), "hub"),
    "with a tensor made twice": (lambda m: block_of(m).operations.append(_first(m)), "hub"),
    "with operations in the wrong order": (lambda m: block_of(m).operations.reverse(), "hub"),
    "with an input of no type": (lambda m: m.mlProgram.functions["main"].inputs[0].ClearField("type"), "hub"),
    "with an input of rank 5,000": (
        lambda m: m.mlProgram.functions["main"].inputs[0].type.tensorType.dimensions.extend(
            [m.mlProgram.functions["main"].inputs[0].type.tensorType.dimensions[0]] * 5000), "plan"),
    "with an input twice": (
        lambda m: m.mlProgram.functions["main"].inputs.append(m.mlProgram.functions["main"].inputs[0]), "load"),
    "whose weights are at 2^63": (_offset(1 << 63), "hub"),
    "whose weights are at 2^64 - 64": (_offset((1 << 64) - 64), "hub"),
    "whose weights are at 1": (_offset(1), "hub"),
    "whose weights are at 0": (_offset(0), "hub"),
    "without a description": (lambda m: m.ClearField("description"), "hub"),
    "of version -1": (lambda m: (setattr(m, "specificationVersion", -1), m.ClearField("mlProgram")), "load"),
}  # fmt: skip

_RECORD = 64
_DAMAGE = {
    "of another version": (4, b"\x09"),
    "without its mark": (_RECORD, bytes(4)),
    "of an unknown dtype": (_RECORD + 4, struct.pack("<I", 99)),
    "of 2^62 bytes": (_RECORD + 8, struct.pack("<Q", 1 << 62)),
    "whose offset and length wrap": (_RECORD + 8, struct.pack("<QQ", (1 << 64) - 64, 128)),
    "at 2^63": (_RECORD + 16, struct.pack("<Q", 1 << 63)),
    "off its boundary": (_RECORD + 16, struct.pack("<Q", 129)),
    "of too few bytes": (_RECORD + 8, struct.pack("<Q", 4)),
}

_MANIFESTS: dict[str, Callable[[Any, Path], object]] = {
    "is a list": lambda manifest, path: [1],
    "names nothing": lambda manifest, path: {},
    "names a number": lambda manifest, path: {"itemInfoEntries": {"a": {"path": 7}}, "rootModelIdentifier": "a"},
    "names an item that is not there": lambda manifest, path: {**manifest, "rootModelIdentifier": "b"},
    "has an identifier that is a list": lambda manifest, path: {**manifest, "rootModelIdentifier": [[]]},
    "names itself": lambda manifest, path: {"itemInfoEntries": {"a": {"path": "../Manifest.json"}}, "rootModelIdentifier": "a"},
}  # fmt: skip

_PLAIN: dict[str, Callable[[Path], object]] = {
    "Manifest.json is nested": lambda path: (path / "Manifest.json").write_text("[" * 200_000),
    "Manifest.json is no text": lambda path: (path / "Manifest.json").write_bytes(b"\xff\xfe\0"),
    "Manifest.json is a link": lambda path: _relink(path / "Manifest.json", path),
    "the specification is a link": lambda path: _relink(path / SPEC, path),
    "the specification is linked hard": lambda path: _relink(path / SPEC, path, hard=True),
    "the weights are a link": lambda path: _relink(path / WEIGHTS, path),
    "the weights are linked hard": lambda path: _relink(path / WEIGHTS, path, hard=True),
    "the weights are missing": lambda path: (path / WEIGHTS).unlink(),
    "the weights are empty": lambda path: (path / WEIGHTS).write_bytes(b""),
    "the weights are cut off": lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:150]),
    "the specification is cut off": lambda path: (path / SPEC).write_bytes((path / SPEC).read_bytes()[:200]),
    "the specification is empty": lambda path: (path / SPEC).write_bytes(b""),
    "the specification is noise": lambda path: (path / SPEC).write_bytes(bytes(range(256)) * 20),
    "the specification is of groups": lambda path: (path / SPEC).write_bytes(b"\x08\x06" + b"\x0b" * 5000),
}


def _relink(file: Path, package: Path, hard: bool = False) -> None:
    file.unlink()
    secret = outside_of(package.parent)
    file.hardlink_to(secret) if hard else file.symlink_to(secret)


OFFSET = "(64)"
"""Where the compiled text says where its weights are."""


def _compiled(change: Callable[[str], str], name: str = "model.mil", index: int = 0) -> Callable[[Path], Path]:
    """A compiled model whose text is changed."""

    def make(folder: Path) -> Path:
        path = sound("mlmodelc", index).write(folder)
        target = path / name
        target.write_text(change(target.read_text() if target.exists() else ""), errors="surrogateescape")
        return path

    return make


def _swapped(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return change


_COMPILED: dict[str, tuple[Callable[[str], str], str]] = {
    "is empty": (lambda text: "", "load"),
    "is cut off": (lambda text: text[: len(text) // 2], "load"),
    "is nested": (lambda text: text + "{" * 50_000, "load"),
    "has a string without an end": (lambda text: text.replace('"', "", 1), "load"),
    "is of version 99": (lambda text: text.replace("program(1", "program(99", 1), "load"),
    "has a shape of 2^62": (_swapped("[8, 12]", "[4611686018427387904, 12]"), "hub"),
    "has a negative shape": (_swapped("[8, 12]", "[-8, 12]"), "hub"),
    "has its weights outside": (_swapped("@model_path/", "@model_path/../"), "hub"),
    "has its weights at an absolute path": (_swapped("@model_path/", "/dev/"), "hub"),
    "has its weights at 2^64": (_swapped(OFFSET, "(18446744073709551616)"), "hub"),
    "has its weights at -1": (_swapped(OFFSET, "(-1)"), "hub"),
    "has a number of 100,000 digits": (_swapped(OFFSET, f"({'9' * 100_000})"), "hub"),
    "has an unknown operation": (_swapped("softmax(", "frobnicate("), "hub"),
    "reads what nobody makes": (_swapped("x = x", "x = nowhere"), "hub"),
    "is no UTF-8": (_swapped("softmax", "\udcff\udcfe"), "load"),
    "has a NUL": (_swapped("softmax", "soft\0max"), "load"),
    "has a function twice": (lambda text: text[: text.rindex("}")] + text[text.index("func") :], "load"),
}


def cases() -> Iterator[Hostile]:
    """All of them."""
    for escape in ESCAPES:
        for way in WAYS[:: 1 if escape.title.startswith(("climbs", "is absolute", "is a symbolic")) else 3]:
            yield Hostile(f"coreml: the manifest's model {escape.title}, by {way}", _root_path(escape), way=way)
        if escape.title != "has a NUL":
            yield Hostile(f"coreml: a weight file {escape.title}", _blob_name(escape, "@model_path/"), "hub")
    yield Hostile("coreml: a weight file beside the package", _blob_name(ESCAPES[0], ""), "hub")
    for title, manifest in _MANIFESTS.items():
        yield Hostile(f"coreml: the manifest {title}", package(_manifest(manifest)))
    for title, spoil in _PLAIN.items():
        yield Hostile(f"coreml: {title}", package(spoil), "hub" if "weights" in title else "load")
    for title, (change, refused) in _SPECIFICATIONS.items():
        yield Hostile(f"coreml: a specification {title}", specification(change), refused)
    for value in (0, 1 << 40, (1 << 63) - 1):
        yield Hostile(f"coreml: results of size {value}", specification(_sizes(value)), "run")
    for title, (offset, data) in _DAMAGE.items():
        yield Hostile(f"coreml: weights {title}", _weights(offset, data), "hub")
    for title, (change, refused) in _COMPILED.items():
        yield Hostile(f"coreml: a compiled text {title}", _compiled(change), refused)
    for title, text in {"nested": "[" * 200_000, "a number": "7", "cut off": '[{"a"', "empty": ""}.items():
        yield Hostile(
            f"coreml: compiled metadata that is {title}", _compiled(lambda _, text=text: text, "metadata.json", 1)
        )
    yield Hostile("coreml: blocks 5,000 deep", _nested_blocks(5000))
    yield Hostile("coreml: pipelines 40 deep", _pipelines(40), limits={"nesting": 20})
    yield Hostile("coreml: pipelines 90 deep", _pipelines(90))
