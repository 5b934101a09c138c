"""Compiled Core ML models (``.mlmodelc``): an ML program's text and metadata, put together again as ``Model`` message.

coremlc writes an ML program as text (``model.mil``), its weights as they were in the package, and the interface as JSON
(``metadata.json``). That is what a package says too; so a compiled program is read, run and saved again like one. The
compiled forms of other kinds of model hold nothing of the sort and are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench import limits
from workbench.errors import ModelError
from workbench.files import contained
from workbench.formats.coreml import toolkit

TEXT = "model.mil"
DATA = "coremldata.bin"
METADATA = "metadata.json"

_OTHERS = (
    ("model.espresso.net", "a neural network of the older form"),
    ("model0", "a pipeline"),
)
_NEWEST = 10  # the specification of iOS 26; that of iOS 15 is 6


def is_compiled(folder: Path) -> bool:
    """Whether the folder is a compiled model, of any kind."""
    return any((folder / name).is_file() for name in (DATA, TEXT))


def read_compiled(folder: Path, label: str) -> bytes:
    """The serialised ``Model`` message of a compiled ML program.

    Args:
        folder: the ``.mlmodelc``.
        label: what messages call it.

    Raises:
        ModelError: it is compiled from another kind of model, or a file in it is damaged.
        LimitError: a file is larger, or more deeply nested, than :mod:`workbench.limits` allows.
    """
    from workbench.formats.coreml.compiled.features import describe, load_metadata
    from workbench.formats.coreml.compiled.signature import describe_functions
    from workbench.formats.coreml.compiled.text import TextReader

    if not (folder / TEXT).exists():
        kind = next((kind for name, kind in _OTHERS if (folder / name).exists()), "a model that is no ML program")
        raise ModelError(
            f"{label}: compiled (.mlmodelc) from {kind}, which leaves no text to read; "
            "use the .mlmodel or .mlpackage that it was made from."
        )
    message = toolkit.model_pb2().Model()
    where = f"{label}/{TEXT}"
    program = message.mlProgram
    attributes = TextReader(_bytes(folder, TEXT), where).program(program)
    if (folder / METADATA).exists():
        metadata = f"{label}/{METADATA}"
        record = load_metadata(_bytes(folder, METADATA), metadata)
        describe(message.description, record, metadata)
        message.specificationVersion = _specification(record.get("specificationVersion"), program)
    else:
        describe_functions(message.description, program, attributes, where)
        message.specificationVersion = _specification(None, program)
    spec: bytes = message.SerializeToString()
    return spec


def _bytes(folder: Path, name: str) -> bytes:
    path = contained(folder, name, what="file")
    limits.check("text_bytes", path.stat().st_size, str(path))
    return path.read_bytes()


def _specification(stated: Any, program: Any) -> int:
    """The stated version, or the one that the newest operator set of the program came with."""
    if type(stated) is int and 0 < stated <= _NEWEST:  # and no truth value, which is an int too
        return stated
    numbers = [function.opset.removeprefix("CoreML") for function in program.functions.values()]
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=_NEWEST)
