"""Reading NNEF models: folders and archives, without trusting what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench import limits
from workbench.errors import ModelError, WorkbenchError
from workbench.files import contained
from workbench.formats.nnef.archive import GRAPH, ModelFolder, is_archive, open_folder
from workbench.formats.nnef.document import QUANT, SIDECAR, Contents, NnefDocument, Sidecar, Variable
from workbench.formats.nnef.expand import expand
from workbench.formats.nnef.graph import NnefGraph, NnefOperation
from workbench.formats.nnef.levels import spread, stored
from workbench.formats.nnef.parser import parse_document
from workbench.formats.nnef.placeholder import without_placeholder
from workbench.formats.nnef.quantization import Quantization, parse_quantization
from workbench.formats.nnef.tensors import BOOL, HEADER_SIZE, map_tensor, read_header
from workbench.formats.nnef.to_onnx.engine import as_hub_tensor
from workbench.formats.nnef.to_onnx.node import INTEGER
from workbench.hub import dtype_name
from workbench.hub.on_disk import remember

OpenTensor = Callable[[str], tuple[ir.TensorProtocol, bool]]
"""Label → the tensor, and whether its items are quantised values."""

_FOLDER = "workbench.folder"
_KINDS = {"scalar": "fiu", "integer": "iu", "logical": "b"}


def looks_like_nnef(path: Path) -> bool:
    """Whether the path is an NNEF folder, archive or text, by its content."""
    try:
        if path.is_dir():
            return (path / GRAPH).is_file()
        if is_archive(path):
            return _archive_has_graph(path)
        with path.open("rb") as handle:
            head = handle.read(4096)
        return _begins_like_nnef(head)
    except (OSError, WorkbenchError):
        return False


def _begins_like_nnef(head: bytes) -> bool:
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    first = next((line.strip() for line in lines if line.strip() and not line.strip().startswith(b"#")), b"")
    return first.startswith(b"version") and b"\0" not in head


def _archive_has_graph(path: Path) -> bool:
    import tarfile
    import zipfile

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(_is_graph(name) for name in archive.namelist()[:1000])
        with tarfile.open(path, "r:*") as tar:
            for index, member in enumerate(tar):
                if _is_graph(member.name):
                    return True
                if index >= 1000:
                    break
    except Exception:  # whatever the decompressors raise: it is not recognisable, which is all that is asked
        return False
    return False


def _is_graph(name: str) -> bool:
    return name.rsplit("/", 1)[-1] == GRAPH


def read_path(path: Path) -> NnefDocument:
    """Read a folder, an archive, or the ``graph.nnef`` of a folder.

    Raises:
        ModelError: damaged, unsafe or of a version that is not known; with file, line and column for text.
        LimitError: beyond a limit of :mod:`workbench.limits`.
    """
    folder = open_folder(path)
    try:
        graph_file = folder.root / GRAPH if path.is_dir() or is_archive(path) else path
        text = _text(contained(graph_file.parent, graph_file.name, what="graph"))
        quant = _text(contained(folder.root, QUANT)) if (folder.root / QUANT).is_file() else b""
        sidecar = _text(contained(folder.root, SIDECAR)) if (folder.root / SIDECAR).is_file() else b""

        def open_tensor(label: str) -> tuple[ir.TensorProtocol, bool]:
            tensor, quantized = _open(folder.root, label)
            tensor.meta[_FOLDER] = folder  # what is unpacked from an archive stays as long as a tensor lies in it
            return tensor, quantized

        contents = assemble(text, quant, sidecar, open_tensor, path.name)
        return document_of(contents, path.name, path, folder)
    except BaseException:
        folder.close()
        raise


def _text(path: Path) -> bytes:
    size = path.stat().st_size
    limits.check("text_bytes", size, f"{path.name}, size in bytes")
    return path.read_bytes()


def assemble(
    text: bytes | str, quant: bytes | str, sidecar: bytes | str, open_tensor: OpenTensor, where: str
) -> Contents:
    """Make a model's contents of its texts and its tensors. Raises as :func:`read_path`."""
    record = Sidecar.from_json(_decoded(sidecar)) if sidecar else Sidecar()
    graph = expand(parse_document(text, f"{where}/{GRAPH}"), f"{where}/{GRAPH}")
    graph = without_placeholder(graph, record.placeholder)
    quantization = parse_quantization(quant, f"{where}/{QUANT}") if quant else {}
    for name in quantization:
        if name not in graph.dtypes:
            raise ModelError(f"{where}/{QUANT}: the graph has no tensor {name!r}.")
    declared = [operation for operation in graph.operations if operation.name == "variable"]
    opened = {operation.outputs[0]: _checked(operation, open_tensor, where, graph.is_tract) for operation in declared}
    scalar = record.scalar or _scalar_of(graph, opened)
    if graph.is_tract:
        variables = {name: _own(*found, quantization.get(name), where) for name, found in opened.items()}
        return Contents(_decoded(text), graph, variables, quantization, _decoded(quant), record, scalar)
    variables = {
        name: _variable(name, label, tensor, quantized, graph.dtypes[name], scalar, quantization, where)
        for name, (label, tensor, quantized) in opened.items()
    }
    return Contents(_decoded(text), graph, variables, quantization, _decoded(quant), record, scalar)


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8-sig", errors="replace")


def _checked(
    operation: NnefOperation, open_tensor: OpenTensor, where: str, any_kind: bool
) -> tuple[str, ir.TensorProtocol, bool]:
    label, shape = operation.arguments["label"], tuple(operation.arguments["shape"])
    tensor, quantized = open_tensor(label)
    if tuple(tensor.shape.numpy()) != shape:
        raise ModelError(
            f"{where}: the variable '{operation.outputs[0]}' is declared as {list(shape)}, "
            f"the file {label}.dat holds {list(tensor.shape.numpy())}."
        )
    if any_kind:
        return label, tensor, quantized
    kinds = _KINDS[operation.dtype or "scalar"]
    kind = np.dtype(tensor.dtype.numpy()).kind
    if kind not in kinds or (operation.dtype == "scalar" and kind != "f" and not quantized):
        raise ModelError(
            f"{where}: the variable '{operation.outputs[0]}' is {operation.dtype}, "
            f"the file {label}.dat holds {dtype_name(tensor.dtype)} items."
        )
    return label, tensor, quantized


def _own(label: str, tensor: ir.TensorProtocol, quantized: bool, entry: Quantization | None, where: str) -> Variable:
    """A variable for tract, which takes the items as they are unless ``graph.quant`` speaks of them."""
    if entry is None:
        return Variable(label, tensor, tensor)
    real = _dequantized(tensor.numpy(), entry, "float32", label, where)
    return Variable(label, tensor, ir.Tensor(real, name=label), quantized)


def document_of(
    contents: Contents, name: str, origin: Path | None = None, folder: ModelFolder | None = None
) -> NnefDocument:
    """The document of a model's contents, in the dialect that its text is in."""
    if contents.graph.is_tract:
        from workbench.formats.nnef.tract.document import TractDocument

        return TractDocument(contents, name, origin, folder)
    return NnefDocument(contents, name, origin, folder)


def _scalar_of(graph: NnefGraph, opened: Mapping[str, tuple[str, ir.TensorProtocol, bool]]) -> str:
    """float64 if a variable needs it, else float32 (which holds float16 exactly)."""
    wide = any(tensor.dtype is ir.DataType.DOUBLE for _, tensor, _ in opened.values())
    return "float64" if wide else "float32"


def _variable(
    name: str,
    label: str,
    tensor: ir.TensorProtocol,
    quantized: bool,
    kind: str,
    scalar: str,
    quantization: Mapping[str, Quantization],
    where: str,
) -> Variable:
    if quantized:
        entry = quantization.get(name)
        if entry is None:
            raise ModelError(f"{where}: the variable '{name}' is quantised, {QUANT} does not say how.")
        held = stored(tensor, entry, scalar, label)
        if held is not None:
            return Variable(label, tensor, held, True)
        real = _dequantized(tensor.numpy(), entry, scalar, name, where)
        return Variable(label, tensor, ir.Tensor(real, name=label), True)
    dtype = {"integer": INTEGER, "logical": "bool"}.get(kind, scalar)
    try:
        return Variable(label, tensor, as_hub_tensor(tensor, dtype, label))
    except WorkbenchError as error:
        raise ModelError(f"{where}: the variable '{name}': {error}.") from error


def _dequantized(levels: NDArray[Any], entry: Quantization, scalar: str, name: str, where: str) -> NDArray[Any]:
    """The real numbers that stored levels stand for (NNEF 1.0.5, section 4.11)."""
    numbers = ("zero_point", "scale", "min", "max")
    given = {key: spread(value, levels.ndim) if key in numbers else value for key, value in entry.arguments.items()}
    for key in numbers:
        if any(
            extent not in (1, size) for extent, size in zip(np.shape(given.get(key, 0)), levels.shape, strict=False)
        ):
            raise ModelError(f"{where}: the variable '{name}': {key} does not fit the shape {list(levels.shape)}.")
    q = levels.astype(np.float64)
    if entry.operation == "zero_point_linear_quantize":
        return np.asarray((q - given["zero_point"]).astype(scalar) * np.asarray(given["scale"], scalar))
    if entry.operation in ("min_max_linear_quantize", "linear_quantize"):
        signed, symmetric = given.get("signed", False), given.get("symmetric", False)
        steps = 2.0 ** given["bits"] - 1 - int(signed and symmetric)
        offset = 2.0 ** (given["bits"] - 1) - int(symmetric) if signed else 0.0
        return np.asarray((q + offset) / steps * (given["max"] - given["min"]) + given["min"]).astype(scalar)
    raise ModelError(f"{where}: the variable '{name}' is stored by {entry.operation}, which keeps no sign.")


def _open(root: Path, label: str) -> tuple[ir.TensorProtocol, bool]:
    path = contained(root, f"{label.removeprefix('/')}.dat", what="tensor file")
    header = read_header(path)
    if header.item_type == BOOL or header.count == 0 or header.dtype.byteorder == ">":
        return ir.Tensor(map_tensor(path, header), name=label), header.quantized
    tensor = ir.ExternalTensor(
        path.name,
        HEADER_SIZE,
        header.length,
        ir.DataType.from_numpy(header.dtype.newbyteorder("=")),
        shape=ir.Shape(header.shape),
        name=label,
        base_dir=path.parent,
    )
    tensor.numpy()  # mapped now: another file of this name, later, does not change the model
    remember(tensor)
    return tensor, header.quantized
