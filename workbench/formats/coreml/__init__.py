"""Core ML: every kind of model that states what it calculates, read on any platform; ML programs, written through
coremltools."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.document import Document, Progress
from workbench.formats.base import Draft, Format, Source
from workbench.formats.coreml import private
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.package import is_archive, is_package, is_spec
from workbench.hub import Control, Specialized, foresee
from workbench.lowering import Outcome, Table

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["FORMAT", "CoreMLFormat"]


class CoreMLFormat(Format):
    """``.mlpackage`` (folder or zipped), ``.mlmodel``, and compiled ML programs (``.mlmodelc``, to be read only)."""

    name = "coreml"
    title = "Core ML"
    suffixes = (".mlpackage", ".mlmodel", ".mlpackage.zip")
    options = CoreMLOptions
    read_options = ("function", "precision")
    flexible_shapes = True
    control = Control(unrolled=512, longest=4_096, kept=True)

    def claims(self, path: Path) -> bool:
        """Whether the content is a package or compiled, an archive of one, or a serialised ``Model`` message."""
        try:
            if path.is_dir():
                return is_package(path)
            return path.is_file() and (is_archive(path) or is_spec(path))
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
            return False

    def is_only(self, folder: Path) -> bool:
        """Whether it is a package with nothing beside its manifest and its data."""
        names = {entry.name for entry in folder.iterdir()}
        return is_package(folder) and names <= {"Manifest.json", "Data"}

    def adopts(self, source: object) -> bool:
        """Whether it is coremltools' ``MLModel`` or a ``Model`` message."""
        kind = type(source)
        if kind.__module__.startswith(("coremltools.models", f"{private.NAME}.models")) and kind.__name__ == "MLModel":
            return True
        return getattr(getattr(kind, "DESCRIPTOR", None), "full_name", "") == "CoreML.Specification.Model"

    def read(self, source: Path | object, **options: Any) -> Document:
        """Read a path or an adopted object; see :func:`workbench.formats.coreml.read.read`."""
        from workbench.formats.coreml.read import read

        return read(source, **options)

    def tables(self) -> Mapping[str, Table[Any]]:
        """ML programs both ways, and the way in of their compressed weights, of the older form and of other kinds."""
        from workbench.formats.coreml.classical import kinds
        from workbench.formats.coreml.from_onnx import TABLE
        from workbench.formats.coreml.neuralnetwork import network
        from workbench.formats.coreml.to_onnx import compressed, mil

        return {
            "ONNX → Core ML (ML program)": TABLE,
            "Core ML (ML program) → ONNX": mil,
            "Core ML (compressed weights of ML programs) → ONNX": compressed,
            "Core ML (neural network) → ONNX": network,
            "Core ML (kinds of model beside ML programs, neural networks, and pipelines of any of them) → ONNX": kinds,
        }

    def foresee(self, graph: ir.Graph) -> Sequence[Outcome]:
        """Refused is what the table of ML programs does not have."""
        from workbench.formats.coreml.from_onnx import TABLE

        return foresee(graph, TABLE)

    def draft(self, hub: Specialized, source: Source, options: Any, progress: Progress) -> Draft:
        """Lower to an ML program in memory."""
        from workbench.formats.coreml.write import draft

        return draft(hub, source, options, progress)


FORMAT = CoreMLFormat()
