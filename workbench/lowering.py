"""The lowering tables: how the operators of one format are said in another.

Every format has two tables, ``to_onnx`` (its operators → the hub's) and ``from_onnx`` (the hub's → its own). A lowering
is a function named by operator and since-version; it takes the node and an emitter and returns the values that stand
for the node's outputs. It raises :class:`Refused` where the target cannot say exactly what the node says, and calls
``node.approximate(bound)`` where it says it only approximately. The engine of the format names, stamps and wires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from workbench.errors import WorkbenchError
from workbench.plan import Verdict

Function = TypeVar("Function", bound=Callable[..., Any])


CONTRADICTIONS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What Python, numpy and coremltools' builder raise where a node's attributes and inputs do not fit together in a way
that nothing has checked before."""


def contradiction(error: Exception) -> str:
    """The cause to state for one of :data:`CONTRADICTIONS`, or for what it was raised from."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = (str(error).strip().splitlines() or [""])[0][:200]
    return f"its attributes and inputs do not fit together ({type(error).__name__}: {text})"


class Refused(Exception):
    """Raised by a lowering: this node cannot be expressed. Becomes one :class:`workbench.errors.Refusal`.

    Args:
        cause: why, as a clause without capital and full stop (``"'shape' is computed by 'Concat_7'"``).
        way_out: what the user can do, likewise (``"fix the input sizes with shapes={…}"``); may be empty.
    """

    def __init__(self, cause: str, way_out: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.way_out = way_out


@dataclass(frozen=True)
class Entry(Generic[Function]):
    """One registered lowering."""

    domain: str
    operator: str
    since: int
    function: Function

    @property
    def label(self) -> str:
        """``Clip-13``, ``com.microsoft.Gelu-1``; formats without versions register since version 1."""
        prefix = f"{self.domain}." if self.domain else ""
        return f"{prefix}{self.operator}-{self.since}"


class Table(Generic[Function]):
    """Lowerings by (domain, operator, since-version). Explicit, and a duplicate is an error.

    A function that is defined again (a notebook's cell that is run again, a module that is reloaded) is no duplicate:
    it takes the place of what it was.
    """

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self._entries: dict[tuple[str, str], list[Entry[Function]]] = {}

    def lowers(self, *operators: str, since: int = 1, domain: str = "") -> Callable[[Function], Function]:
        """Register the decorated function for the operators, from version ``since`` on."""

        def register(function: Function) -> Function:
            for operator in operators:
                before = self._entries.get((domain, operator), [])
                entries = [entry for entry in before if entry.since != since or not _is_again(entry.function, function)]
                if any(entry.since == since for entry in entries):
                    raise WorkbenchError(f"{self.source} → {self.target}: {operator}-{since} is registered twice.")
                entries.append(Entry(domain, operator, since, function))
                entries.sort(key=lambda entry: entry.since, reverse=True)
                self._entries[domain, operator] = entries
            return function

        return register

    def find(self, operator: str, version: int = 1, domain: str = "") -> Function | None:
        """The lowering with the highest since-version that is at most ``version``."""
        for entry in self._entries.get((domain, operator), ()):
            if entry.since <= version:
                return entry.function
        return None

    def knows(self, operator: str, domain: str = "") -> bool:
        """Whether any version of the operator is registered."""
        return (domain, operator) in self._entries

    def __iter__(self) -> Iterator[Entry[Function]]:
        for key in sorted(self._entries):
            yield from self._entries[key]


def _is_again(before: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Whether a function is one that was there before, defined anew: of the same name in the same module, and either at
    the same place of the same file, or in another cell of a notebook."""
    names = [(item.__module__, getattr(item, "__qualname__", "<unnamed>")) for item in (before, function)]
    codes: list[Any] = [getattr(item, "__code__", None) for item in (before, function)]
    if names[0] != names[1] or "<" in names[0][1] or None in codes:
        return False
    files = [code.co_filename for code in codes]
    lines = [code.co_firstlineno for code in codes]
    same_file = files[0] == files[1]
    return lines[0] == lines[1] if same_file else names[0][0] == "__main__"


@dataclass(frozen=True)
class Outcome:
    """What became of one source node: its verdict, the notes on it, and the layers that it stands for."""

    layers: tuple[str, ...]
    operator: str
    verdict: Verdict
    note: str = ""
    way_out: str = ""


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome that decides for a layer made of several nodes: refused, undecided, approximate, exact."""
    order = [Verdict.EXACT, Verdict.APPROXIMATE, Verdict.UNDECIDED, Verdict.REFUSED]
    return max(outcomes, key=lambda outcome: order.index(outcome.verdict))


def approximations(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Source layer → the bound of its approximation, for the record of a conversion; exact layers are not in it."""
    bounds: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.verdict is Verdict.APPROXIMATE:
            for layer in outcome.layers:
                bounds.setdefault(layer, []).append(outcome.note)
    return {layer: join_bounds(notes) for layer, notes in bounds.items()}


def join_bounds(bounds: Iterable[str]) -> str:
    """Several bounds, each of which may be several, as one text that says each of them once."""
    return "; ".join(dict.fromkeys(part for bound in bounds if bound for part in bound.split("; ")))
