"""A recording: the tensors of a model on some samples, in one file that stands for the model where it cannot run.

Record on a Mac what Core ML gives, compare on Linux. The file is a zip archive (``numpy.load`` opens it too):
``recording.json`` says what the model was, its inputs, layers and origin; ``feeds/S/I.npy`` is input I of sample S,
``tensors/S/T.npy`` the tensor whose place is T.

As a document a recording has a hub graph as every model has one. Each of its tensors is looked up by the number of the
sample, which follows from the feeds; feeds that were not recorded are refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import Document, Layer, Provenance, TensorSpec
from workbench.errors import ExecutionError, ModelError
from workbench.hub import Emitter, dtype_named
from workbench.npz import DAMAGES, read_npy

Array = np.ndarray[Any, Any]

KIND, VERSION = "workbench-recording", 1
MANIFEST = "recording.json"
SAMPLE = "recorded sample//"
"""The hub graph's input that says which sample is looked up: an int64 without dimensions."""
OPERATORS = "workbench.operators"
"""Key in a node's metadata: the hub operators that made the tensor when it was recorded."""


def is_recording(path: Path) -> bool:
    """Whether the file is a recording, by its content."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as handle:
            if handle.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except DAMAGES:
        return False


def digest_of(feeds: Mapping[str, Array]) -> str:
    """What tells one sample from another: SHA-256 of the names, dtypes, shapes and bytes of its arrays."""
    found = hashlib.sha256()
    for name in sorted(feeds):
        array = feeds[name]
        found.update(f"{name}\0{array.dtype.str}\0{list(array.shape)}\0".encode())
        found.update("\0".join(map(str, array.reshape(-1))).encode() if array.dtype.kind in "OUS" else array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Recorded:
    """One tensor of a recording: its place in the archive, its layers, and the operators that made it."""

    spec: TensorSpec
    place: int
    layers: tuple[str, ...]
    operators: tuple[str, ...]


class RecordedDocument(Document):
    """A recording as a document.

    Args:
        path: the file.

    Raises:
        ModelError: it is damaged.
        LimitError: it is beyond the limits.
    """

    computes = False

    def __init__(self, path: Path) -> None:
        self.path = self.origin = path
        self.name = path.name
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {member.filename: member for member in archive.infolist()}
                limits.check("archive_members", len(self._members), str(path))
                limits.check("text_bytes", self._members[MANIFEST].file_size, f"{path}/{MANIFEST}")
                data = json.loads(archive.read(MANIFEST).decode("utf-8"))
        except DAMAGES as error:
            raise ModelError(f"{path}: cannot be read as a recording: {error}") from error
        if not isinstance(data, dict) or data.get("kind") != KIND or data.get("version") != VERSION:
            raise ModelError(f"{path}: this is no recording that this workbench reads (version {VERSION}).")
        try:
            self._take(data)
        except DAMAGES as error:
            raise ModelError(f"{path}: the recording is damaged: {error!r}.") from error

    def _take(self, data: Mapping[str, Any]) -> None:
        self.format = str(data["format"])  # type: ignore[misc]  # of the model that was recorded
        self.model_name = str(data["name"])
        self.recorded_by = str(data["executor"])
        self.note = str(data["precision"])
        self.inputs = tuple(map(_spec, data["inputs"]))
        self.outputs = tuple(map(_spec, data["outputs"]))
        self.layers = tuple(_layer(item) for item in data["layers"])
        record = data["provenance"]
        self.provenance = None if record is None else Provenance.from_json(json.dumps(record))
        self.digests = [str(item) for item in data["samples"]]
        self.tensors = [
            Recorded(
                _spec(item["spec"]),
                int(item["place"]),
                tuple(map(str, item["layers"])),
                tuple(map(str, item["operators"])),
            )
            for item in data["tensors"]
        ]
        if not self.digests or not all(tensor.spec.is_static for tensor in self.tensors):
            raise ValueError("no sample, or a tensor without sizes")

    def hub(self) -> ir.Model:
        return self._hub

    @cached_property
    def _hub(self) -> ir.Model:
        """One Gather for each tensor, from all samples of it, which are read when they are looked at."""
        emitter = Emitter(self.name)
        for spec in self.inputs:
            emitter.input(spec.name, spec.dtype, spec.shape)
        sample = emitter.input(SAMPLE, "int64", [])
        made = {}
        for tensor in self.tensors:
            spec = tensor.spec
            constant = emitter.tensor(self._lazy(tensor.place, spec), f"{spec.name}//all")
            with emitter.layer(tensor.layers):
                value = emitter.rename(emitter.op("Gather", constant, sample, axis=0), spec.name)
            node = value.producer()
            assert node is not None
            node.metadata_props[OPERATORS] = " ".join(tensor.operators)
            made[spec.name] = value
        missing = [spec.name for spec in self.outputs if spec.name not in made]
        if missing:
            raise ModelError(f"{self.origin}: the recording lacks the output {missing[0]!r}.")
        return emitter.finish([made[spec.name] for spec in self.outputs])

    def _lazy(self, place: int, spec: TensorSpec) -> ir.TensorProtocol:
        shape = tuple(int(str(dim)) for dim in spec.shape or ())

        def read() -> ir.TensorProtocol:
            found = [self._array(f"tensors/{sample}/{place}.npy") for sample in range(len(self.digests))]
            if any(array.shape != shape or array.dtype.name != spec.dtype for array in found):
                raise ModelError(
                    f"{self.origin}: the tensor {spec.name!r} is not the {spec.describe()} that is declared."
                )
            return ir.tensor(np.stack(found), name=f"{spec.name}//all")

        dtype = dtype_named(spec.dtype)
        return ir.LazyTensor(read, dtype=dtype, shape=ir.Shape((len(self.digests), *shape)), name=f"{spec.name}//all")

    def _array(self, member: str) -> Array:
        """One array of the archive, checked before anything is allocated."""
        where = f"{self.origin}/{member}"
        if member not in self._members:
            raise ModelError(f"{where}: the recording lacks it.")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._members[member]) as handle:
                return read_npy(handle, self._members[member].file_size, where)
        except DAMAGES as error:
            raise ModelError(f"{where}: cannot be read: {error}") from error

    def feeds(self) -> Iterator[dict[str, Array]]:
        """The samples that were recorded."""
        for sample in range(len(self.digests)):
            yield {spec.name: self._array(f"feeds/{sample}/{index}.npy") for index, spec in enumerate(self.inputs)}

    def complete(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The feeds with the number of the sample that they are.

        Raises:
            ExecutionError: they were not recorded.
        """
        own = {spec.name: feeds[spec.name] for spec in self.inputs}
        found = digest_of(own)
        if found not in self.digests:
            count = f"{len(self.digests)} sample{'s' if len(self.digests) != 1 else ''}"
            raise ExecutionError(
                f"{self.name} is a recording of {count}, and these feeds are none of them; leave feeds out, or record "
                "the model on these."
            )
        return {**own, SAMPLE: np.asarray(self.digests.index(found), np.int64)}

    def write(self, path: Path) -> None:
        shutil.copyfile(self.path, path)

    def precision_note(self) -> str:
        return self.note


def spec_to_json(spec: TensorSpec) -> list[Any]:
    """What a recording keeps of a spec."""
    return [spec.name, spec.dtype, None if spec.shape is None else list(spec.shape)]


def _spec(data: Sequence[Any]) -> TensorSpec:
    name, dtype, shape = data
    dims = None if shape is None else tuple(dim if isinstance(dim, int | str) else None for dim in shape)
    if any(isinstance(dim, bool) or (isinstance(dim, int) and dim < 0) for dim in dims or ()):
        raise ValueError(f"{name!r} is of a negative size, or of one that is no number")
    return TensorSpec(str(name), str(dtype), dims)


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """What a recording keeps of a layer: no attributes."""
    return {
        "name": layer.name,
        "operator": layer.operator,
        "inputs": list(layer.inputs),
        "outputs": [spec_to_json(spec) for spec in layer.outputs],
        "parameters": layer.parameters,
    }


def _layer(data: Mapping[str, Any]) -> Layer:
    return Layer(
        str(data["name"]),
        str(data["operator"]),
        tuple(map(str, data["inputs"])),
        tuple(map(_spec, data["outputs"])),
        parameters=int(data["parameters"]),
    )
