"""From the bytes of an ONNX file to a checked onnx-ir model.

The protobuf is parsed without touching external data; every location of external data, in function bodies and
subgraphs too, is checked by :func:`workbench.files.contained` before onnx-ir sees a path. Native inference is never
given a whole graph (``workbench.hub.infer``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import onnx_ir as ir

from workbench import limits
from workbench.errors import ModelError
from workbench.files import contained
from workbench.formats.onnx.document import OnnxDocument
from workbench.formats.onnx.stream import Skeleton, skeleton
from workbench.formats.onnx.tensors import check_tensor
from workbench.hub import subgraphs
from workbench.hub.on_disk import remember
from workbench.hub.quiet import quiet

if TYPE_CHECKING:
    import onnx


_HOLDERS: dict[int, Literal["t", "g", "sparse_tensor"]] = {4: "t", 5: "g", 11: "sparse_tensor"}
"""AttributeProto.type → the field that a message of that type is in (onnx.proto)."""


def looks_like_onnx(path: Path) -> bool:
    """Whether a file's top level is a ModelProto with a graph or an opset import; walks the field headers only."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as handle:
            size = path.stat().st_size
            if handle.read(1) not in (b"\x08", b"\x12", b"\x3a", b"\x42"):
                return False
            handle.seek(0)
            return any(field in (7, 8) for field in _top_fields(handle, size))
    except (OSError, ValueError):
        return False


def _top_fields(handle: IO[bytes], size: int) -> Iterator[int]:
    """Numbers of the length-delimited fields at the top level, if every tag could be a ModelProto's."""
    while handle.tell() < size:
        tag = _varint(handle)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value = _varint(handle)
            if field == 1 and not 0 < value < 64:
                raise ValueError("no ir_version of ONNX")
        elif wire == 2:
            length = _varint(handle)
            if handle.tell() + length > size:
                raise ValueError("a field is longer than the file")
            if field == 7 or (field == 8 and length < 4096):
                if field == 8 and not _is_opset_import(handle.read(length)):
                    raise ValueError("no opset import")
                yield field
                return
            handle.seek(length, 1)
        else:
            raise ValueError("not a wire type that ModelProto uses")
        if field not in (1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26):
            raise ValueError("not a field of ModelProto")


def _is_opset_import(data: bytes) -> bool:
    return not data or data[0] in (0x0A, 0x10)


def _varint(handle: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = handle.read(1)
        if not byte:
            raise ValueError("the file ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number is longer than 64 bits")


def read_file(path: Path) -> OnnxDocument:
    """Read an ``.onnx`` file and the external data beside it.

    Raises:
        ModelError: the bytes are no ONNX model, the graph contradicts itself, or external data lies outside.
        LimitError: the file is larger than ``limits.file_bytes``.
    """
    import onnx

    limits.check("file_bytes", path.stat().st_size, f"{path} (bytes)")
    proto = onnx.ModelProto()
    found = skeleton(path)
    try:
        proto.ParseFromString(path.read_bytes() if found is None else found.message)
    except Exception as error:  # protobuf's DecodeError has no stable place; MemoryError is not an Exception we hide
        raise ModelError(f"{path}: no ONNX model: {error}.") from error
    return _document(proto, path, found)


def read_proto(proto: onnx.ModelProto | object) -> OnnxDocument:
    """Read a model in memory; it must hold its tensors itself.

    Raises:
        ModelError: the graph contradicts itself, or a tensor is stored in a file.
    """
    return _document(proto, None)  # type: ignore[arg-type]  # adopted by class name


def _document(proto: onnx.ModelProto, path: Path | None, held: Skeleton | None = None) -> OnnxDocument:
    where = str(path) if path is not None else f"onnx model {proto.graph.name!r}"
    if not proto.HasField("graph"):
        raise ModelError(f"{where}: the file holds no graph; it is empty, truncated or no ONNX model.")
    _check_text(proto, where)
    _check_tensors(proto, path, where, None if held is None else held.token)
    try:
        with quiet("onnx_ir", logging.CRITICAL):  # it logs what it makes up for, which _check_graph refuses
            model = ir.from_proto(proto)
        _open_negative(model)
        if held is not None:
            held.attach(model.graph)
        if path is not None:
            _set_base(model, path.parent.resolve())
    except ModelError:
        raise
    except Exception as error:  # onnx-ir reports malformed protos by many classes
        raise ModelError(f"{where}: malformed ONNX model: {_root(error)}.") from error
    for function in model.functions.values():
        _check_graph(function.graph, where)
    _check_graph(model.graph, where)
    name = path.name if path is not None else (proto.graph.name or "onnx model")
    return OnnxDocument(model, name, path)


def _open_negative(model: ir.Model) -> None:
    """Sizes of -1, which some exporters write for a dynamic dimension: unknown, as for onnxruntime."""
    for graph in model.graphs():
        for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
            if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
                value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])


def _root(error: BaseException) -> str:
    """The innermost cause; onnx-ir wraps one error for every level it passes."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__


def _check_text(proto: onnx.ModelProto, where: str) -> None:
    """Texts are UTF-8 (protobuf hands out bytes where not), attributes have name and type, opsets are plausible."""
    for entry in proto.opset_import:
        if not isinstance(entry.domain, str) or not 0 < entry.version < 1 << 31:
            raise ModelError(f"{where}: {entry.domain!r} is imported at the impossible opset version {entry.version}.")
    bad = _not_utf8(proto)
    if bad is not None:
        raise ModelError(f"{where}: the text {bad!r} is not UTF-8; the file is damaged.")
    for body in _bodies(proto):
        for node in body.node:
            for attribute in node.attribute:
                if not attribute.name or (not attribute.type and not attribute.ref_attr_name):
                    raise ModelError(
                        f"{where}: {node.op_type} {node.name!r}: the attribute {attribute.name!r} has no "
                        f"{'type' if attribute.name else 'name'}; the file is damaged, or older than IR version 2."
                    )
                held = _HOLDERS.get(attribute.type)
                if held is not None and not attribute.ref_attr_name and not attribute.HasField(held):
                    raise ModelError(
                        f"{where}: {node.op_type} {node.name!r}: the attribute {attribute.name!r} is empty; "
                        "the file is damaged."
                    )
                if node.domain in ("", "ai.onnx") and not _is_text(attribute.s, *attribute.strings):
                    raise ModelError(
                        f"{where}: {node.op_type} {node.name!r}: the attribute {attribute.name!r} is not UTF-8; "
                        "the file is damaged."
                    )


def _is_text(*values: bytes) -> bool:
    try:
        for value in values:
            value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_tensors(proto: onnx.ModelProto, path: Path | None, where: str, token: str | None) -> None:
    """Every tensor holds what its header says, and external data lies inside the model's folder.

    ``token`` is the location of what was left in the model's own file (:class:`Skeleton`).
    """
    import onnx

    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            check_tensor(tensor, where)
            continue
        if path is None:
            raise ModelError(f"{where}: the tensor {tensor.name!r} lies in a file; load the model by its path.")
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if token is not None and entries.get("location") == token:
            check_tensor(tensor, where, stored=int(entries["length"]))
            continue
        location = contained(path.parent, entries.get("location", ""), what=f"data of tensor {tensor.name!r}")
        size = location.stat().st_size
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as error:
            raise ModelError(f"{where}: tensor {tensor.name!r}: offset and length are no numbers.") from error
        if "length" not in entries:
            length = size - offset
        if offset < 0 or length < 0 or offset + length > size:
            raise ModelError(
                f"{where}: tensor {tensor.name!r} is said to lie at bytes {offset} to {offset + length} of "
                f"{entries.get('location')!r}, which has {size}; the data file is truncated or of another model."
            )
        check_tensor(tensor, where, stored=length, open_end="length" not in entries)


def _bodies(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Everything in the file that holds nodes: the graph, the functions, and all their subgraphs."""
    pending: list[onnx.GraphProto | onnx.FunctionProto] = [proto.graph, *proto.functions]
    while pending:
        body = pending.pop()
        yield body
        for node in body.node:
            for attribute in node.attribute:
                pending += attribute.graphs
                if attribute.HasField("g"):
                    pending.append(attribute.g)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor in the file: initializers and attributes, of subgraphs and functions too."""
    import onnx

    for body in _bodies(proto):
        sparse: list[onnx.SparseTensorProto] = []
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
            sparse += body.sparse_initializer
        for node in body.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                sparse += attribute.sparse_tensors
                if attribute.HasField("sparse_tensor"):
                    sparse.append(attribute.sparse_tensor)
        for tensor in sparse:
            yield tensor.values
            yield tensor.indices


def _not_utf8(proto: onnx.ModelProto) -> object:
    """The first text of the file (name, domain, documentation, property) that is not UTF-8, or None."""
    import onnx

    pending: list[Any] = [proto]
    while pending:
        message = pending.pop()
        texts: list[object] = []
        if isinstance(message, onnx.TensorProto):  # its data is not copied
            texts += (message.name, message.doc_string)
            pending += (*message.external_data, *message.metadata_props)
        else:
            for field, value in message.ListFields():
                if field.type == field.TYPE_MESSAGE:
                    pending += value if field.is_repeated else (value,)
                elif field.type == field.TYPE_STRING:
                    texts += value if field.is_repeated else (value,)
        for text in texts:
            if type(text) is not str:
                return text
    return None


def _set_base(model: ir.Model, folder: Path) -> None:
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    for graph in graphs:
        ir.external_data.set_base_dir(graph, folder)
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                remember(value.const_value)


def _check_graph(graph: ir.Graph, where: str, outside: frozenset[str | None] = frozenset(), depth: int = 0) -> int:
    """Every tensor is made once, before it is read; subgraphs also see what was made outside before them.

    Returns:
        the number of nodes, those of subgraphs included.
    """
    total = len(graph)
    limits.check("nodes", total, f"{where} (nodes)")
    limits.check("nesting", depth, f"{where} (nested graphs)")
    names = [value.name for value in graph.inputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"{where}: the input {twice!r} is there twice; names must be unique.")
    own = set(names) | set(graph.initializers)
    made = own | outside
    for node in graph:
        for inner in subgraphs(node):
            total += _check_graph(inner, where, frozenset(made), depth + 1)
            limits.check("nodes", total, f"{where} (nodes)")
        for value in node.inputs:
            if value is not None and value.name and value.name not in made:
                raise ModelError(
                    f"{where}: {node.op_type} {node.name!r} reads {value.name!r}, which nothing before it makes."
                )
        for value in node.outputs:
            if value.name and value.name in made:
                raise ModelError(f"{where}: the tensor {value.name!r} is made twice; names must be unique.")
            made.add(value.name)
    for value in graph.outputs:
        if value.name not in made or (value.name in outside and value.name not in own):
            raise ModelError(f"{where}: the output {value.name!r} is made by no node.")
    return total
