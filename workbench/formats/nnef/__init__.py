"""NNEF 1.0 – 1.0.5: https://registry.khronos.org/NNEF/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.document import Document, Progress
from workbench.errors import ModelError, OptionError
from workbench.formats.base import Draft, Format, Options, Source
from workbench.hub import Control, Specialized, foresee
from workbench.lowering import Outcome, Table

if TYPE_CHECKING:
    import onnx_ir as ir


DIALECTS = ("khronos", "tract")


@dataclass(frozen=True, kw_only=True)
class NnefOptions(Options):
    """Options of a conversion to NNEF.

    Attributes:
        dialect: whose rules the text keeps to; ``khronos`` is the standard with its 121 operations, ``tract`` what
            Sonos' tract reads, with operators of its own, dtypes, and sizes that stay open.
    """

    dialect: str = field(default="khronos", metadata={"choices": DIALECTS})

    def __post_init__(self) -> None:
        if self.dialect not in DIALECTS:
            raise OptionError(f"dialect={self.dialect!r}: it is one of {', '.join(map(repr, DIALECTS))}.")


class NnefFormat(Format):
    """NNEF models: a folder with ``graph.nnef`` and tensor files, or an archive of one."""

    name: ClassVar[str] = "nnef"
    title: ClassVar[str] = "NNEF"
    suffixes: ClassVar[tuple[str, ...]] = (".nnef", ".nnef.tgz", ".tgz", ".tar.gz", ".tar", ".zip")
    options: ClassVar[type[Options]] = NnefOptions
    static_shapes: ClassVar[bool] = True
    control: ClassVar[Control] = Control(unrolled=20_000, longest=20_000, kept=False)

    def leaves_open(self, options: Any) -> bool:
        """Whether sizes stay open: in the tract dialect."""
        return bool(options.dialect == "tract")

    def claims(self, path: Path) -> bool:
        from workbench.formats.nnef.read import looks_like_nnef

        return looks_like_nnef(path)

    def is_only(self, folder: Path) -> bool:
        from workbench.formats.nnef.archive import holds_only_a_model

        return holds_only_a_model(folder)

    def adopts(self, source: object) -> bool:
        return False

    def read(self, source: Path | object, **options: Any) -> Document:
        from workbench.formats.nnef.read import read_path

        if not isinstance(source, Path):
            raise ModelError(f"NNEF models are read from a path, not from a {type(source).__name__}.")
        return read_path(source)

    def tables(self) -> Mapping[str, Table[Any]]:
        from workbench.formats.nnef.from_onnx import TABLE as FROM_ONNX
        from workbench.formats.nnef.to_onnx import TABLE as TO_ONNX
        from workbench.formats.nnef.tract.from_onnx import TABLE as TO_TRACT
        from workbench.formats.nnef.tract.to_onnx import TABLE as FROM_TRACT

        return {
            "ONNX → NNEF": FROM_ONNX,
            "NNEF → ONNX": TO_ONNX,
            "ONNX → NNEF (tract dialect)": TO_TRACT,
            "NNEF (tract dialect) → ONNX": FROM_TRACT,
        }

    def foresee(self, graph: ir.Graph) -> Sequence[Outcome]:
        from workbench.formats.nnef.from_onnx import TABLE

        return foresee(graph, TABLE)

    def draft(self, hub: Specialized, source: Source, options: Any, progress: Progress) -> Draft:
        if options.dialect == "tract":
            from workbench.formats.nnef.tract.write import draft

            return draft(hub, source, self.control, progress)
        from workbench.formats.nnef.write import lower

        return lower(hub, source, progress)


FORMAT = NnefFormat()
