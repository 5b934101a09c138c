"""What an exchange format brings: how it is recognised, read, planned for, and written."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from workbench.document import Classifier, Document, Layer, Progress, TensorSpec
from workbench.errors import OptionError, Refusal
from workbench.hub import Control, ShapeOption, Specialized
from workbench.lowering import Outcome, Table

if TYPE_CHECKING:
    import onnx_ir as ir

AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Conversion options that every target takes; a format derives its own class and checks its values in
    ``__post_init__`` (raising :class:`OptionError`).

    The metadata of a field tells user interfaces more of what it takes: ``choices`` are the texts that it may be (or a
    function that returns them); ``keys`` of a mapping, and ``values``, are names of the source's ``inputs``,
    ``outputs``, ``interface`` (both) or ``layers``. What the docstring says of a field is its help.

    Attributes:
        shapes: input name → sizes, for inputs with dynamic dimensions. Core ML takes a range in the place of a size,
            ``(Range(1, 8), 3, 224, 224)``, and a list of whole shapes, the default first.
        constants: input name → the value that it has for good (a sampling rate, a flag): what follows from it is
            computed, and the converted model has no such input.
    """

    shapes: Mapping[str, ShapeOption] | None = None
    constants: Mapping[str, Any] | None = field(default=None, metadata={"keys": "inputs"})

    def chosen_among(self, layers: Sequence[Layer]) -> Mapping[str, Any]:
        """What takes the place of the options that were given as a function of the source's layers.

        Raises:
            OptionError: the function chooses nothing, where something has to be chosen.
        """
        return {}


@dataclass(frozen=True)
class Source:
    """What a writer may know of the model that it writes: for names, provenance and messages, and which inputs and
    outputs are the two ends of a state; never for what the graph computes."""

    format: str
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tensors: frozenset[str] = frozenset()
    """Every tensor that the source's own layers make: only these can be stood for by tensors of the target."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    classifier: Classifier | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Inputs that were given a value for good → that value, an array; :attr:`inputs` does not have them."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Inputs with the value of a state before a run → the outputs with its value after the run."""
    starts: Mapping[str, ir.TensorProtocol] = field(default_factory=dict)
    """States that do not begin with zeros → what they begin with, under the name that it was trained under."""
    path: Path | None = None
    """The file or folder that it was read from, if any."""

    def name_with(self, suffix: str) -> str:
        """A display name for the converted model: the source's without its suffix, and the target's in its place."""
        path = PurePath(self.name)
        stem = path.stem if path.suffix and not path.suffix[1:].isdigit() else path.name  # "v1.5" has no suffix
        return (stem.removesuffix(".nnef") or "model") + suffix


class Draft(ABC):
    """A lowered model that is not written yet: the verdicts are known, nothing is on the disk."""

    outcomes: Sequence[Outcome]
    """One for each node of the specialised graph."""

    general: Sequence[Refusal] = ()
    """Refusals that concern the interface (an input of rank 6, say), not a node."""

    @abstractmethod
    def finish(self, progress: Progress) -> Document:
        """Make the document: passes, serialisation. Called once, and only if nothing was refused.

        The document is made by *reading back* what was written, so that running it runs the real thing.
        """


class Format(ABC):
    """One exchange format. Instances are found through the ``workbench.formats`` entry points."""

    name: ClassVar[str]
    """The name in the API: ``onnx``, ``nnef``, ``coreml``."""

    title: ClassVar[str]
    """The name for people: ``Core ML``."""

    suffixes: ClassVar[tuple[str, ...]]
    """File name endings that belong to the format, the preferred one for writing first."""

    options: ClassVar[type[Options]] = Options

    read_options: ClassVar[tuple[str, ...]] = ()
    """The options that :meth:`read` takes."""

    static_shapes: ClassVar[bool] = True
    """Whether :meth:`draft` needs to be told the sizes of all inputs."""

    flexible_shapes: ClassVar[bool] = False
    """Whether an input may be told to take several shapes."""

    control: ClassVar[Control | None] = None
    """What becomes of control flow and sequences before :meth:`draft`; ``None`` leaves them in the graph."""

    def leaves_open(self, options: Any) -> bool:
        """Whether :meth:`draft` takes sizes that are open, with these options."""
        return not self.static_shapes

    @abstractmethod
    def claims(self, path: Path) -> bool:
        """Whether the *content* at the path is of this format (looks at few bytes, runs nothing, never raises)."""

    @abstractmethod
    def adopts(self, source: object) -> bool:
        """Whether the in-memory object is a model of this format (without importing heavy libraries for it)."""

    @abstractmethod
    def read(self, source: Path | object, **options: Any) -> Document:
        """Read a path or an adopted object, with options of :attr:`read_options` only.

        Raises:
            ModelError: the file is damaged, unsafe, or of a kind that is not supported; the message names it.
        """

    def is_only(self, folder: Path) -> bool:
        """Whether the folder is a model of this format and holds nothing else, so that another may take its place."""
        return False

    def tables(self) -> Mapping[str, Table[Any]]:
        """The lowering tables of the format by a title for people; the hub's own format has none."""
        return {}

    def foresee(self, graph: ir.Graph) -> Sequence[Outcome]:
        """What can be said of the nodes of a hub graph that is not specialised yet; a format that needs fixed shapes
        says it for each node, the others are never asked."""
        return ()

    @abstractmethod
    def draft(self, hub: Specialized, source: Source, options: Any, progress: Progress) -> Draft:
        """Lower a specialised hub graph to this format; every node gets an outcome, none is raised for."""


def make_options(kind: type[AnyOptions], given: Mapping[str, Any]) -> AnyOptions:
    """Build the options object; an unknown name is refused with the names that exist and the nearest of them.

    Raises:
        OptionError: unknown option or bad value.
    """
    known = [entry.name for entry in fields(kind)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"unknown option {name!r}; this target takes {', '.join(known)}.{hint}")
    return kind(**given)
