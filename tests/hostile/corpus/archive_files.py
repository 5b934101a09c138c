"""Archives that unpack outside, without end, into one another, or into what is no file."""

# ruff: noqa: E501  (a crafted file is one line of a table)

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus.case import Hostile, outside_of
from tests.hostile.corpus.nnef_files import graph
from tests.hostile.seeds import sound

TEXT = graph("y = relu(x);").encode()
BOMB = {"archive_bytes": 64 << 20, "archive_members": 1000}


def written(name: str, make: Callable[[Path], bytes]) -> Callable[[Path], Path]:
    """Writes an archive; ``make`` gets the absolute path of what lies outside."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(make(outside_of(folder)))
        return folder / name

    return write


def tar_of(*members: tuple[str, bytes, bytes, str], mode: str = "w:gz") -> bytes:
    """A tar with members (name, type, content, link target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, kind, content, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_of(*members: tuple[str, bytes], mode: int = 0, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with members (name, content), all with one file mode."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a name that is there twice is meant
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = compression
            archive.writestr(info, content)
    return stream.getvalue()


GRAPH = ("graph.nnef", tarfile.REGTYPE, TEXT, "")
_NAMES = {
    "climbs out": "../outside/written", "climbs out from below": "a/../../outside/written", "is absolute": "{outside}.written",
    "climbs out with backslashes": "..\\outside\\written", "has a drive": "C:written", "is empty": "", "is a dot": ".",
    "is of 5,000 letters": "n" * 5000, "is 3,000 deep": "a/" * 3000 + "w",
}  # fmt: skip
_KINDS = {
    "symbolic link": (tarfile.SYMTYPE, "{outside}"), "hard link": (tarfile.LNKTYPE, "graph.nnef"),
    "hard link outside": (tarfile.LNKTYPE, "../outside/secret"), "character device": (tarfile.CHRTYPE, ""),
    "block device": (tarfile.BLKTYPE, ""), "pipe": (tarfile.FIFOTYPE, ""),
}  # fmt: skip


def _package_members(prefix: str = "m") -> list[tuple[str, bytes]]:
    return [(f"{prefix}/{name.split('/', 1)[1]}", data) for name, data in sound("mlpackage").files.items()]


def _lying(data: bytes, size: int) -> bytes:
    """A zip whose directory and headers state another size for the unpacked members."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = 0
        while (start := data.find(mark, start)) >= 0:
            changed[start + offset : start + offset + 4] = struct.pack("<I", size)
            start += 4
    return bytes(changed)


def _within(depth: int) -> bytes:
    """A zip in a zip in a zip …, each called as the model."""
    data = zip_of(("graph.nnef", TEXT))
    for _ in range(depth):
        data = zip_of(("graph.nnef", data))
    return data


def _quine(data: bytes) -> bytes:
    """An archive that says it holds an archive of the same name: the graph is the archive itself."""
    return zip_of(("graph.nnef", data), ("model.zip", data))


def _nnef() -> Iterator[Hostile]:
    for title, name in _NAMES.items():
        yield Hostile(f"tar: a member's name {title}", written("model.tgz", lambda outside, name=name: tar_of(
            GRAPH, (name.format(outside=outside), tarfile.REGTYPE, b"x", ""))))  # fmt: skip
        if title not in ("is empty", "is a dot"):
            yield Hostile(f"zip: a member's name {title}", written("model.zip", lambda outside, name=name: zip_of(
                ("graph.nnef", TEXT), (name.format(outside=outside), b"x"))))  # fmt: skip
    for title, (kind, link) in _KINDS.items():
        yield Hostile(f"tar: a {title}", written("model.tgz", lambda outside, kind=kind, link=link: tar_of(
            GRAPH, ("w.dat", kind, b"", link.format(outside=outside)))))  # fmt: skip
        yield Hostile(f"tar: the graph is a {title}", written("model.tar", lambda outside, kind=kind, link=link: tar_of(
            ("graph.nnef", kind, b"", link.format(outside=outside)), mode="w")))  # fmt: skip
    for title, mode in {"symbolic link": 0o120777, "pipe": 0o010644, "device": 0o020644}.items():
        yield Hostile(f"zip: a {title}", written("model.zip", lambda outside, mode=mode: zip_of(
            ("graph.nnef", TEXT), ("w.dat", b"/dev/zero"), mode=mode)))  # fmt: skip
    plain = {
        "tar: a member twice": ("model.tgz", lambda: tar_of(GRAPH, GRAPH)),
        "tar: no graph": ("model.tgz", lambda: tar_of(("a", tarfile.REGTYPE, b"", ""))),
        "tar: cut off": ("model.tgz", lambda: tar_of(GRAPH)[:-30]),
        "tar: nothing": ("model.tgz", lambda: gzip.compress(b"")),
        "tar: noise": ("model.tgz", lambda: b"\x1f\x8b\x08" + bytes(range(256))),
        "tar: a header of 2 MB": ("model.tgz", lambda: tar_of(GRAPH, ("n" * (2 << 20), tarfile.REGTYPE, b"", ""))),
        "tar: noise in xz": ("model.tgz", lambda: gzip.compress(lzma.compress(b"x") + bytes(600))),
        "zip: a member twice": ("model.zip", lambda: zip_of(("graph.nnef", TEXT), ("graph.nnef", TEXT))),
        "zip: no graph": ("model.zip", lambda: zip_of(("a", b""))),
        "zip: cut off": ("model.zip", lambda: zip_of(("graph.nnef", TEXT))[:-30]),
        "zip: noise": ("model.zip", lambda: b"PK\x03\x04" + bytes(range(256))),
        "zip: ten in one another": ("model.zip", lambda: _within(10)),
        "zip: a member's name is empty": ("model.zip", lambda: nameless(zip_of(("graph.nnef", TEXT), ("?", b"x")))),
        "zip: itself": ("model.zip", lambda: _quine(zip_of(("graph.nnef", TEXT)))),
        "zip: encrypted": ("model.zip", lambda: _flagged(zip_of(("graph.nnef", TEXT)))),
        "zip: a compression that nobody has": ("model.zip", lambda: zip_of(("graph.nnef", TEXT)).replace(
            b"\x08\x00\x00\x00!", b"\x63\x00\x00\x00!")),
        "zip: less than it says": ("model.zip", lambda: _lying(zip_of(("graph.nnef", TEXT), compression=0), 10)),
        "tar: two models": ("model.tgz", lambda: tar_of(("a/graph.nnef", tarfile.REGTYPE, TEXT, ""),
                                                       ("b/graph.nnef", tarfile.REGTYPE, TEXT, ""))),
    }  # fmt: skip
    for title, (name, make) in plain.items():
        yield Hostile(title, written(name, lambda outside, make=make: make()))


def _flagged(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[6] |= 1
    directory = data.index(b"PK\x01\x02")
    changed[directory + 8] |= 1
    return bytes(changed)


def _bombs() -> Iterator[Hostile]:
    zeros = bytes(128 << 20)
    made = {
        "tar: unpacks to 128 MB": ("model.tgz", lambda: tar_of(GRAPH, ("w.dat", tarfile.REGTYPE, zeros, ""))),
        "tar: says it unpacks to 8 GB": ("model.tar", lambda: _big_header()),
        "tar: 2,000 members": ("model.tgz", lambda: tar_of(GRAPH, *((f"{n}", tarfile.REGTYPE, b"", "") for n in range(2000)))),
        "tar: bzip2 of 128 MB": ("model.tgz", lambda: bz2.compress(tar_of(GRAPH, ("w", tarfile.REGTYPE, zeros, ""), mode="w"))),
        "zip: unpacks to 128 MB": ("model.zip", lambda: zip_of(("graph.nnef", TEXT), ("w.dat", zeros))),
        "zip: more than it says": ("model.zip", lambda: _lying(zip_of(("graph.nnef", TEXT), ("w.dat", zeros)), 100)),
        "zip: 2,000 members": ("model.zip", lambda: zip_of(("graph.nnef", TEXT), *((f"{n}", b"") for n in range(2000)))),
        "package: unpacks to 128 MB": ("m.mlpackage.zip", lambda: zip_of(*_package_members(), ("m/Data/zeros", zeros))),
        "package: more than it says": (
            "m.mlpackage.zip", lambda: _lying(zip_of(*_package_members(), ("m/Data/zeros", zeros)), 100)
        ),
        "package: 2,000 members": ("m.mlpackage.zip", lambda: zip_of(*_package_members(), *((f"m/{n}", b"") for n in range(2000)))),
    }  # fmt: skip
    for title, (name, make) in made.items():
        yield Hostile(title, written(name, lambda outside, make=make: make()), limits=BOMB)


def _big_header() -> bytes:
    info = tarfile.TarInfo("w.dat")
    info.size = (8 << 30) - 1
    return tar_of(GRAPH, mode="w")[:-10240 + 1024] + info.tobuf()  # fmt: skip


def nameless(data: bytes) -> bytes:
    """A zip whose member ``?`` has no name: the one byte is an extra field instead."""
    changed = bytearray(data)
    for mark, offset, header in ((b"PK\x01\x02", 28, 46), (b"PK\x03\x04", 26, 30)):
        start = next(
            at for at in range(len(data)) if data.startswith(mark, at) and data[at + header : at + header + 1] == b"?"
        )
        changed[start + offset : start + offset + 4] = struct.pack("<HH", 0, 1)
    return bytes(changed)


def _packages() -> Iterator[Hostile]:
    for title, name in _NAMES.items():
        if title not in ("is empty", "is a dot", "has a drive"):
            text = "m/" + name if title.startswith(("climbs", "is of", "is 3")) else name
            yield Hostile(f"package: a member's name {title}", written("m.mlpackage.zip", lambda outside, text=text: zip_of(
                *_package_members(), (text.format(outside=outside), b"x"))))  # fmt: skip
    plain = {
        "package: two": lambda: zip_of(*_package_members("a"), *_package_members("b")),
        "package: cut off": lambda: zip_of(*_package_members())[:-40],
        "package: a member twice": lambda: zip_of(*_package_members(), _package_members()[1]),
        "package: a member's name is empty": lambda: nameless(zip_of(*_package_members(), ("?", b"x"))),
        "package: links": lambda: zip_of(*_package_members(), mode=0o120777),
        "package: without a manifest's model": lambda: zip_of(
            *((name, data) for name, data in _package_members() if not name.endswith(".mlmodel")), ("m/a.mlmodel", b"")
        ),
    }
    for title, make in plain.items():
        yield Hostile(title, written("m.mlpackage.zip", lambda outside, make=make: make()))


def cases() -> Iterator[Hostile]:
    """All of them."""
    yield from _nnef()
    yield from _bombs()
    yield from _packages()
