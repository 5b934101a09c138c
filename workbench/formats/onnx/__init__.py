"""ONNX: https://onnx.ai/onnx/repo-docs/IR.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from workbench.document import Document, Progress
from workbench.formats.base import Draft, Format, Options, Source
from workbench.hub import Specialized


class OnnxFormat(Format):
    """ONNX models: a protobuf file, with or without external data, or an ``onnx.ModelProto`` in memory."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    options: ClassVar[type[Options]] = Options
    static_shapes: ClassVar[bool] = False

    def claims(self, path: Path) -> bool:
        from workbench.formats.onnx.read import looks_like_onnx

        return looks_like_onnx(path)

    def adopts(self, source: object) -> bool:
        kind = type(source)
        return kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx")

    def read(self, source: Path | object, **options: Any) -> Document:
        from workbench.formats.onnx.read import read_file, read_proto

        return read_file(source) if isinstance(source, Path) else read_proto(source)

    def draft(self, hub: Specialized, source: Source, options: Any, progress: Progress) -> Draft:
        from workbench.formats.onnx.write import OnnxDraft

        return OnnxDraft(hub, source)


FORMAT = OnnxFormat()
