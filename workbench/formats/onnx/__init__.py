"""ONNX: https://onnx.ai/onnx/repo-docs/IR.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.document import Document, Progress
from workbench.errors import OptionError
from workbench.formats.base import Draft, Format, Options, Source
from workbench.hub import OPSET, Specialized


@dataclass(frozen=True, kw_only=True)
class OnnxOptions(Options):
    """Options of the target ``onnx``.

    Attributes:
        opset: the operator set that the model is written for, from 13 to 25: older runtimes take older ones only. What
            an older opset does not have is said by other operators, or refused layer by layer.
    """

    opset: int = OPSET

    def __post_init__(self) -> None:
        from workbench.hub.downgrade import OLDEST

        if isinstance(self.opset, str) and self.opset.isdecimal():  # the command line has texts
            object.__setattr__(self, "opset", int(self.opset))
        if isinstance(self.opset, bool) or not isinstance(self.opset, int) or not OLDEST <= self.opset <= OPSET:
            raise OptionError(f"opset: {self.opset!r} is no whole number from {OLDEST} to {OPSET}.")


class OnnxFormat(Format):
    """ONNX models: a protobuf file, with or without external data, or an ``onnx.ModelProto`` in memory."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    options: ClassVar[type[Options]] = OnnxOptions
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

        return OnnxDraft(hub, source, options.opset)


FORMAT = OnnxFormat()
