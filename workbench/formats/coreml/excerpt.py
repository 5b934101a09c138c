"""A few operations of an ML program as a model of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.document import TensorSpec
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.blob import BlobFile, write_blobs
from workbench.formats.coreml.interface import ARRAY_DTYPES
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.program_form import values_in
from workbench.formats.coreml.read import CoreMLDocument
from workbench.formats.coreml.values import named_spec
from workbench.lowering import Refused

_ARRAYS = {name: number for number, name in ARRAY_DTYPES.items()}
_HALF_INTERFACE = 7
"""The specification version from which on an interface may be of float16."""


def excerpt(
    package: Package, name: str, function: str, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> CoreMLDocument:
    """The operations of a function between tensors, with the constants that they read, as a program.

    Args:
        package: of the model; it is not changed.
        name: of the excerpt.
        function: whose operations they are.
        inputs: the tensors that are fed in place of being computed, with their sizes.
        outputs: names of the tensors to compute.

    Raises:
        Refused: it is no program, it has no such tensor, or Core ML cannot take or return one of that type.
    """
    message = toolkit.model_pb2().Model()
    message.ParseFromString(package.spec)
    if message.WhichOneof("Type") != "mlProgram":
        raise Refused("only parts of an ML program can stand alone")
    found = message.mlProgram.functions[function]
    block = found.block_specializations[found.opset]
    types = {named.name: named for named in found.inputs}
    types.update((named.name, named) for operation in block.operations for named in operation.outputs)
    fed = [spec.name for spec in inputs]
    unknown = [wanted for wanted in (*fed, *outputs) if wanted not in types]
    if unknown:
        raise Refused(f"the program has no tensor {unknown[0]!r}")
    made = toolkit.model_pb2().Model(specificationVersion=message.specificationVersion)
    made.mlProgram.version = message.mlProgram.version
    part = made.mlProgram.functions["main"]
    part.opset = found.opset
    part.inputs.extend(types[wanted] for wanted in fed)
    inner = part.block_specializations[found.opset]
    inner.operations.extend(_needed(block, set(fed), outputs, {named.name for named in found.inputs}))
    inner.outputs.extend(outputs)
    shapes = {spec.name: spec.shape for spec in inputs}
    for wanted in fed:
        _describe(made.description.input.add(), types[wanted], message.specificationVersion, shapes[wanted])
    for wanted in outputs:
        _describe(made.description.output.add(), types[wanted], message.specificationVersion, None)
    folder = _with_weights(inner, package)
    data = made.SerializeToString(deterministic=True)
    root = None if folder is None else Path(folder.name)
    return CoreMLDocument(Package(name, data, root, folder), name, None)


def _with_weights(block: Any, package: Package) -> tempfile.TemporaryDirectory[str] | None:
    """Let the values of a block refer to a weight file of their own, in a folder that is made; ``None`` without any."""
    values = [value for value in values_in(block) if value.WhichOneof("value") == "blobFileValue"]
    if not values:
        return None
    places = dict.fromkeys((value.blobFileValue.fileName, int(value.blobFileValue.offset)) for value in values)
    files = {name: BlobFile(package.blob(name)) for name, _ in places}
    folder = tempfile.TemporaryDirectory(prefix="workbench-coreml-", ignore_cleanup_errors=True)
    path = Path(folder.name) / "weights" / "weight.bin"
    path.parent.mkdir()
    offsets = write_blobs(path, [files[name].stored(offset) for name, offset in places])
    moved = dict(zip(places, offsets, strict=True))
    for value in values:
        reference = value.blobFileValue
        reference.offset = moved[reference.fileName, int(reference.offset)]
        reference.fileName = "@model_path/weights/weight.bin"
    return folder


def _needed(block: Any, fed: set[str], outputs: Sequence[str], declared: set[str]) -> list[Any]:
    makers = {named.name: index for index, operation in enumerate(block.operations) for named in operation.outputs}
    found: set[int] = set()
    pending = list(outputs)
    while pending:
        wanted = pending.pop()
        if wanted in fed:
            continue
        if wanted not in makers:
            if wanted in declared:
                raise Refused(f"the operations read {wanted!r}, which is not fed")
            continue  # made inside a nested block, which comes along with its owner
        if makers[wanted] not in found:
            found.add(makers[wanted])
            pending += _reads(block.operations[makers[wanted]])
    return [block.operations[index] for index in sorted(found)]


def _reads(operation: Any) -> Iterator[str]:
    """The names that an operation and the blocks inside it read."""
    for argument in operation.inputs.values():
        yield from (binding.name for binding in argument.arguments if binding.WhichOneof("binding") == "name")
    for nested in operation.blocks:
        yield from nested.outputs
        for inner in nested.operations:
            yield from _reads(inner)


def _describe(feature: Any, named: Any, version: int, shape: Sequence[Any] | None) -> None:
    """State a tensor of the program as a feature.

    Raises:
        Refused: it is no tensor of floats or int32, or of rank 0.
    """
    spec = named_spec(named, "the excerpt")
    if spec.dtype not in ("float32", "int32") and not (spec.dtype == "float16" and version >= _HALF_INTERFACE):
        raise Refused(f"Core ML has no inputs and outputs of {spec.dtype} ({spec.name!r})")
    sizes = shape if shape is not None else spec.shape
    if not sizes:
        raise Refused(f"Core ML has no inputs and outputs without dimensions ({spec.name!r})")
    feature.name = spec.name
    array = feature.type.multiArrayType
    array.dataType = _ARRAYS[spec.dtype]
    if all(isinstance(size, int) for size in sizes):
        array.shape.extend(size for size in sizes if isinstance(size, int))
