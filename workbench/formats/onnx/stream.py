"""Large ONNX files without their weights in memory: the protobuf is read and written around the tensors' bytes.

A file is one message, and a protobuf library holds all of it. Reading, the message is walked, the raw data of large
initializers is left where it lies (:class:`workbench.hub.on_disk.OnDisk`), and the library parses the rest. Writing,
the message is put together around the tensors' bytes; the file is the one that the library would have written.

https://protobuf.dev/programming-guides/encoding/, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.hub.on_disk import Held, OnDisk, write_elements

SMALL = 1 << 16
"""Tensors of fewer bytes are part of the message like everything else."""

SMALL_FILE = 8 << 20
"""A smaller file is read as a whole."""

_GRAPH, _INITIALIZER, _DATA_TYPE, _NAME, _RAW_DATA = 7, 5, 2, 8, 9  # numbers of fields in onnx.proto
_TENSOR = frozenset({1, _DATA_TYPE, _NAME, _RAW_DATA, 12, 16})  # dims, doc_string and metadata_props beside them
_VARINT, _BYTES = 0, 2  # wire types
_HEADER = 20  # bytes of a tag and a length at most

Piece = bytes | tuple[int, int]
"""Bytes that are written as they are, or the part of the file from one place to another."""


@dataclass(frozen=True)
class _Field:
    number: int
    wire: int
    begin: int
    value: int
    end: int


class _Odd(Exception):
    """The message is not of the usual form: let the library read it, and say what is wrong with it."""


# -- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Skeleton:
    """A file's message with references in place of what was left in the file; they are known by ``token``."""

    message: bytes
    token: str
    held: Held

    def attach(self, graph: ir.Graph) -> None:
        """Give the graph's initializers that are references the tensors that they refer to."""
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.location == self.token:
                value.const_value = OnDisk(self.held, tensor.offset or 0, tensor.dtype, tensor.shape, tensor.name)


def skeleton(path: Path) -> Skeleton | None:
    """The file without the raw data of its large initializers; ``None`` where it has to be read as a whole.

    That is a small file, one of an unusual form, and every file on Windows, where one that is held open cannot be
    replaced.
    """
    if os.name == "nt" or path.stat().st_size < SMALL_FILE:
        return None
    token, held = secrets.token_hex(16), Held(path)
    try:
        with held.reader() as handle:
            pieces = _model_pieces(handle, os.fstat(handle.fileno()).st_size, token)
            message = None if pieces is None else _joined(pieces, handle)
        held.check()
    except (_Odd, ModelError):  # or it is being written: reading it as a whole tells
        return None
    return None if message is None else Skeleton(message, token, held)


def _model_pieces(handle: IO[bytes], size: int, token: str) -> list[Piece] | None:
    """The message around its one graph."""
    graphs = [field for field in _fields(handle, 0, size) if field.number == _GRAPH]
    if len(graphs) != 1 or graphs[0].wire != _BYTES:
        raise _Odd
    inner = _graph_pieces(handle, graphs[0], token)
    if inner is None:
        return None
    return [(0, graphs[0].begin), *_delimited(_GRAPH, inner), (graphs[0].end, size)]


def _graph_pieces(handle: IO[bytes], graph: _Field, token: str) -> list[Piece] | None:
    """The graph around its large initializers; ``None`` if it has none."""
    pieces: list[Piece] = []
    names: set[bytes] = set()
    kept = graph.value
    for field in _fields(handle, graph.value, graph.end):
        if field.number != _INITIALIZER or field.wire != _BYTES or field.end - field.value < SMALL:
            continue
        inner = _tensor_pieces(handle, field, names, token)
        if inner is not None:
            pieces += [(kept, field.begin), *_delimited(_INITIALIZER, inner)]
            kept = field.end
    return [*pieces, (kept, graph.end)] if pieces else None


def _tensor_pieces(handle: IO[bytes], tensor: _Field, names: set[bytes], token: str) -> list[Piece] | None:
    """The tensor with a reference in place of its raw data; ``None`` if it stays as it is."""
    fields = list(_fields(handle, tensor.value, tensor.end))
    found = {field.number: field for field in fields}
    name, raw, kind = (found.get(number) for number in (_NAME, _RAW_DATA, _DATA_TYPE))
    if name is None or raw is None or kind is None or not found.keys() <= _TENSOR or raw.end - raw.value < SMALL:
        return None
    if any(sum(field.number == number for field in fields) > 1 for number in (_NAME, _RAW_DATA, _DATA_TYPE)):
        return None
    if not _holds_whole_bytes(_varint(_bytes(handle, kind.value, kind.end), 0)[0]):
        return None
    text = _bytes(handle, name.value, name.end)
    if not text or text in names:
        raise _Odd
    names.add(text)
    return [(tensor.value, raw.begin), (raw.end, tensor.end), _reference(token, raw.value, raw.end - raw.value)]


def _holds_whole_bytes(number: int) -> bool:
    try:
        dtype = ir.DataType(number)
    except ValueError:
        return False
    return dtype not in (ir.DataType.STRING, ir.DataType.UNDEFINED) and dtype.bitwidth >= 8


def _reference(token: str, offset: int, length: int) -> bytes:
    """The fields of a TensorProto that say where its data lies."""
    import onnx

    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", token), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    message: bytes = tensor.SerializeToString()
    return message


def _fields(handle: IO[bytes], begin: int, end: int) -> Iterator[_Field]:
    """The fields of the message between two places, by their headers."""
    place = begin
    while place < end:
        head = _bytes(handle, place, min(place + _HEADER, end))
        tag, size = _varint(head, 0)
        wire = tag & 7
        value = after = place + size
        if wire == _VARINT:
            after = place + _varint(head, size)[1]
        elif wire == _BYTES:
            length, size = _varint(head, size)
            value = place + size
            after = value + length
        elif wire in (1, 5):
            after = value + (8 if wire == 1 else 4)
        else:
            raise _Odd
        if after > end or not tag >> 3:
            raise _Odd
        yield _Field(tag >> 3, wire, place, value, after)
        place = after


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at the place, and where it ends."""
    value = 0
    for index in range(place, min(place + 10, len(data))):
        value |= (data[index] & 0x7F) << 7 * (index - place)
        if data[index] < 0x80:
            return value, index + 1
    raise _Odd


def _bytes(handle: IO[bytes], begin: int, end: int) -> bytes:
    handle.seek(begin)
    data = handle.read(end - begin)
    if len(data) < end - begin:
        raise _Odd
    return data


def _delimited(number: int, pieces: list[Piece]) -> list[Piece]:
    """A field of the pieces, with its length in front."""
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    return [_header(number, length), *pieces]


def _header(number: int, length: int) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(length)


def _encoded(value: int) -> bytes:
    """A number as a varint."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _joined(pieces: list[Piece], handle: IO[bytes]) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else _bytes(handle, *piece) for piece in pieces)


# -- writing --------------------------------------------------------------------------------------------------------


def write_model(model: ir.Model, target: IO[bytes]) -> None:
    """Write a model whose initializers may lie in files; their bytes are copied, not held.

    Args:
        model: it is changed: its large initializers are empty afterwards.
        target: a file opened for writing bytes.
    """
    _embed(model)
    large = _set_aside(model.graph)
    proto = ir.to_proto(model)
    parts: list[bytes | ir.TensorProtocol] = [_part(proto.graph, _INITIALIZER, below=True)]
    for tensor in proto.graph.initializer:
        data = large.get(tensor.name)
        if data is None:
            parts.append(_framed(_INITIALIZER, tensor.SerializeToString(deterministic=True)))
            continue
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        before, after = _part(tensor, _RAW_DATA, below=True), _part(tensor, _RAW_DATA, below=False)
        raw = _header(_RAW_DATA, data.nbytes)
        length = len(before) + len(raw) + data.nbytes + len(after)
        parts += [_header(_INITIALIZER, length) + before + raw, data, after]
    parts.append(_part(proto.graph, _INITIALIZER, below=False))
    target.write(_part(proto, _GRAPH, below=True))
    target.write(_header(_GRAPH, sum(len(part) if isinstance(part, bytes) else part.nbytes for part in parts)))
    for part in parts:
        if isinstance(part, bytes):
            target.write(part)
        else:
            write_elements(part, target)
    target.write(_part(proto, _GRAPH, below=False))


def _embed(model: ir.Model) -> None:
    """Bring what lies in files into the message, but for the initializers of the graph itself."""
    for graph in model.graphs():
        for value in graph.initializers.values() if graph is not model.graph else ():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)


def _set_aside(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Replace the initializers that are large or lie in files by empty ones; the tensors by name."""
    found: dict[str, ir.TensorProtocol] = {}
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype is ir.DataType.STRING:
            continue
        if tensor.nbytes < SMALL and not isinstance(tensor, ir.ExternalTensor):
            continue
        found[name] = tensor
        value.const_value = ir.ExternalTensor(
            "", None, None, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name, doc_string=tensor.doc_string
        )
    return found


def _part(message: Any, number: int, *, below: bool) -> bytes:
    """The fields before or after the one of that number."""
    copy = type(message)()
    copy.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.number == number or (field.number < number) != below:
            copy.ClearField(field.name)
    data: bytes = copy.SerializeToString(deterministic=True)
    return data


def _framed(number: int, message: bytes) -> bytes:
    return _header(number, len(message)) + message
