"""Changes to a sound model: of its bytes, and of what they mean (protobuf fields, words of a text, archive members).

A mutation is made from its number alone: the same number changes the same bundle in the same way, everywhere.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from tests.hostile import wire
from tests.hostile.bundle import Bundle

Change = Callable[[bytes, random.Random], bytes]

INTEGERS = (
    0, 1, 2, 3, 7, 8, 9, 64, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, 1 << 32,
    1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - 8, (1 << 64) - (1 << 31),
)  # fmt: skip
"""Values that are at the edge of something; the last are the negative numbers of a varint."""

_LITERALS = (
    "0", "1", "-1", "2", "3", "7", "64", "255", "4096", "1000000", "2147483647", "-2147483648", "4294967296",
    "4611686018427387904", "9223372036854775807", "-9223372036854775808", "99999999999999999999999", "0.0", "-0.0",
    "1e38", "1e400", "-1e-400", "nan", "inf", "true", "false", "''", "'a'", "[]", "[0]", "[1, 2, 3]", "()", "(1, 2)",
    "[[]]", "[-1]", "null", "{}", '""', '"x"',
)  # fmt: skip
_TEXT = (".nnef", ".quant", ".json", ".mil")
_PROTOBUF = (".onnx", ".mlmodel")
_WORD = re.compile(rb"\s+|[A-Za-z_][A-Za-z_0-9]*|-?\d+\.?\d*(?:[eE][+-]?\d+)?|'[^'\n]*'|\"[^\"\n]*\"|.", re.DOTALL)


def mutated(bundle: Bundle, number: int, seed: int, others: list[Bundle]) -> Bundle:
    """The bundle with one to four changes in one or two of its files.

    Args:
        bundle: the sound model.
        number: which mutation.
        seed: of the series of mutations.
        others: what to take foreign pieces from.
    """
    rng = random.Random(f"{seed}/{number}")
    changed = bundle
    names = [bundle.entry] if bundle.reader == "session" else sorted(bundle.files)  # its model is known by its digest
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(names)
        pool = [data for other in others for file, data in other.files.items() if _kind(file) == _kind(name)]
        data = changed.files[name]
        for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
            data = _change_of(name, rng)(data, rng)
        if rng.random() < 0.05 and pool:
            data = _spliced(data, rng.choice(pool), rng)
        changed = changed.with_file(name, data)
    return changed


def _kind(name: str) -> str:
    return name[name.rfind(".") :]


def _change_of(name: str, rng: random.Random) -> Change:
    if rng.random() < 0.25:
        return _bytes
    if name.endswith(_PROTOBUF):
        return wire.changed
    if name.endswith(_TEXT):
        return _json if name.endswith(".json") and rng.random() < 0.5 else _words
    if name.endswith(".workbench"):
        return _session if rng.random() < 0.7 else _zip
    if name.endswith(".zip"):
        return _zip
    if name.endswith((".tar", ".tgz")):
        return _tar
    return _header


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Replace, drop, repeat or insert a run of bytes, or cut the end off."""
    changed = bytearray(data)
    place, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 1, 2, 4, 8, 64))
    how = rng.randrange(6)
    if how == 0:
        changed[place : place + 1] = bytes([rng.randrange(256)])
    elif how == 1:
        del changed[place : place + length]
    elif how == 2:
        changed[place:place] = changed[place : place + length] * rng.choice((1, 2, 50))
    elif how == 3:
        changed[place : place + length] = rng.randbytes(length)
    elif how == 4:
        changed[place : place + 4] = struct.pack("<Q", rng.choice(INTEGERS))[:4]
    else:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def _spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _header(data: bytes, rng: random.Random) -> bytes:
    """Put an integer of some width over the beginning of a binary file, where its sizes and offsets are."""
    changed = bytearray(data)
    width = rng.choice((1, 2, 4, 8))
    place = rng.randrange(0, max(min(len(changed), 160) - width, 0) + 1, width)
    changed[place : place + width] = struct.pack("<Q", rng.choice(INTEGERS))[:width]
    return bytes(changed)


def _words(data: bytes, rng: random.Random) -> bytes:
    """Replace, drop, repeat, exchange or wrap words of a text, or lines of it."""
    words = _WORD.findall(data)
    if not words:
        return data
    solid = [index for index, word in enumerate(words) if word.strip()] or [0]
    place, other = rng.choice(solid), rng.choice(solid)
    how = rng.randrange(8)
    if how <= 2:
        words[place] = rng.choice(_LITERALS).encode() if rng.random() < 0.6 else words[other]
    elif how == 3:
        del words[place]
    elif how == 4:
        words[place], words[other] = words[other], words[place]
    elif how == 5:
        words[place:place] = words[place : place + rng.randrange(1, 12)]
    elif how == 6:
        opening, closing = rng.choice(((b"[", b"]"), (b"(", b")"), (b"{", b"}"), (b"-", b""), (b"[" * 300, b"]" * 300)))
        words[place] = opening + words[place] + closing
    else:
        lines = b"".join(words).split(b"\n")
        one = rng.randrange(len(lines))
        lines.insert(rng.randrange(len(lines) + 1), lines[one])
        if rng.random() < 0.5:
            del lines[rng.randrange(len(lines))]
        return b"\n".join(lines)
    return b"".join(words)


def _json(data: bytes, rng: random.Random) -> bytes:
    """Replace one value of a JSON text by one of another type."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _words(data, rng)
    places: list[tuple[object, object]] = []
    pending = [value]
    while pending:
        node = pending.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        places += [(node, key) for key in keys]
        pending += [node[key] for key in keys]
    if places:
        holder, key = rng.choice(places)
        holder[key] = rng.choice((None, 0, -1, 1 << 70, 1.5, "", "../x", [], {}, [0], True, "\0", "a" * 5000))  # type: ignore[index]
    return json.dumps(value).encode()


def _session(data: bytes, rng: random.Random) -> bytes:
    """Change the text of a saved session, which is one element of an array of it."""
    try:
        with np.load(io.BytesIO(data)) as archive:
            arrays = dict(archive)
        text = str(arrays.pop("session")).encode()
    except Exception:  # a mutation before this one has made it unreadable
        return _bytes(data, rng)
    changed = (_json if rng.random() < 0.9 else _words)(text, rng).decode("utf-8", "replace")
    stream = io.BytesIO()
    np.savez(stream, session=np.array(changed), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _zip(data: bytes, rng: random.Random) -> bytes:
    """Repack a zip archive with one member changed, or renamed, or twice."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # a mutation before this one has made it unreadable
        return _bytes(data, rng)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", rng.choice((0, 8))) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice is meant
        for name, content in _members(members, rng):
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def _tar(data: bytes, rng: random.Random) -> bytes:
    """The same of a tar archive, with kinds of members that no model has."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [(info.name, archive.extractfile(info).read()) for info in archive if info.isreg()]  # type: ignore[union-attr]
    except Exception:
        return _bytes(data, rng)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=rng.choice(("w", "w:gz", "w:xz", "w:bz2"))) as archive:
        for name, content in _members(members, rng):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if rng.random() < 0.05:
                info.type, info.size = rng.choice(b"12345678"), 0  # type: ignore[assignment]
                info.type, info.linkname = bytes([info.type]), "graph.nnef"  # type: ignore[list-item]
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _members(members: list[tuple[str, bytes]], rng: random.Random) -> list[tuple[str, bytes]]:
    if not members:
        return members
    place = rng.randrange(len(members))
    name, content = members[place]
    how = rng.randrange(5)
    if how <= 1:
        members[place] = name, _change_of(name, rng)(content, rng)
    elif how == 2:
        members[place] = rng.choice(("../" + name, "/" + name, name.upper(), "a/" * 300 + name)), content
    elif how == 3:
        members.append(rng.choice(members))
    else:
        del members[place]
    return members
