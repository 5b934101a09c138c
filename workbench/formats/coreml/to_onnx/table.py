"""The table of MIL operators, and how a MIL operation looks to its lowering.

``since`` is the iOS release of the operator's definition (15 to 19; Core ML's own count goes from iOS 18 to 26).
Operator reference: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.errors import ModelError
from workbench.formats.coreml.tensors import rank_of, shape_of
from workbench.formats.coreml.to_onnx.scope import Scope
from workbench.formats.coreml.values import Constant, as_sequence
from workbench.hub import Emitter
from workbench.lowering import Refused, Table

Array = np.ndarray[Any, Any]
Results = ir.Value | Sequence[ir.Value]
Nested = Callable[[Any, Scope], None]
"""Lowers a block of an operation into a scope."""


class MilOperation:
    """One operation, its parameters bound by name.

    Every parameter has to be read; :meth:`leftover` names those that were not.
    """

    def __init__(
        self,
        operator: str,
        version: int,
        arguments: Mapping[str, Sequence[str | Constant]],
        outputs: tuple[TensorSpec, ...],
        scope: Scope,
        blocks: Sequence[Any] = (),
        nested: Nested | None = None,
    ) -> None:
        self.operator = operator
        self.version = version
        self.outputs = outputs
        self.blocks = blocks
        self._nested = nested
        self._scope = scope
        self._arguments = arguments
        self._unread = set(arguments)

    @property
    def label(self) -> str:
        """``iOS16.gather``"""
        return f"iOS{self.version if self.version < 19 else 26}.{self.operator}"

    def lower_block(self, index: int, emitter: Emitter, suffix: str = "") -> tuple[Any, Scope, Callable[[], None]]:
        """A block of the operation, a scope for it in a graph, and what lowers it there.

        Args:
            index: which block.
            emitter: of the graph that the block becomes part of.
            suffix: ends the hub's names of its tensors, where the block is lowered more than once.
        """
        if index >= len(self.blocks) or self._nested is None:
            raise ModelError(f"the operation has {len(self.blocks)} blocks, {index + 1} are needed.")
        block, nested = self.blocks[index], self._nested
        scope = Scope(emitter, self._scope, suffix)
        return block, scope, lambda: nested(block, scope)

    @property
    def turn(self) -> ir.Value | None:
        """Inside a loop, a word that differs from iteration to iteration."""
        return self._scope.turn

    def state(self, name: str) -> ir.Value:
        """What a state of the program holds at this point."""
        return self._scope.raw(name)

    def set_state(self, name: str, value: ir.Value) -> None:
        """What reads the state behind this operation reads the value instead."""
        if not self._scope.rebind(name, value):
            raise ModelError(f"{name!r}, which is written, is no state.")

    def leftover(self) -> tuple[str, ...]:
        """Parameters that nobody has read."""
        return tuple(sorted(self._unread))

    def ignore(self, *names: str) -> None:
        """Declare that the parameters carry no meaning here."""
        self._unread.difference_update(names)

    def has(self, name: str) -> bool:
        """Whether the parameter is given."""
        return bool(self._arguments.get(name))

    # -- tensors ------------------------------------------------------------------------------------------------

    def value(self, name: str = "x") -> ir.Value:
        """The tensor to calculate with: float16 as float32, integers of 8 and 16 bits as int32."""
        return self._scope.arithmetic(self._one(name))

    def raw(self, name: str = "x") -> ir.Value:
        """The tensor in its own dtype, for operators that only move elements."""
        return self._scope.raw(self._one(name))

    def optional(self, name: str) -> ir.Value | None:
        """As :meth:`value`; ``None`` if the parameter is not given."""
        self._unread.discard(name)
        return self.value(name) if self.has(name) else None

    def values(self, name: str = "values") -> list[ir.Value]:
        """As :meth:`value`, for a parameter of several tensors."""
        return [self._scope.arithmetic(binding) for binding in self._many(name)]

    def overwrite(self, name: str, value: ir.Value) -> None:
        """What reads the parameter, a state, behind this operation reads the value instead."""
        binding = self._one(name)
        if isinstance(binding, Constant):
            raise ModelError(f"the parameter {name!r} is a constant, no state.")
        self.set_state(binding, value)

    def raws(self, name: str = "values") -> list[ir.Value]:
        """As :meth:`raw`, for a parameter of several tensors."""
        return [self._scope.raw(binding) for binding in self._many(name)]

    def integers(self, emit: Emitter, name: str) -> ir.Value:
        """A tensor of integers as int64, the dtype that ONNX wants of shapes, axes and counts."""
        value = self.value(name)
        return value if value.dtype is ir.DataType.INT64 else emit.op("Cast", value, to=ir.DataType.INT64.value)

    def rank(self, value: ir.Value) -> int:
        """The rank of a tensor; refused if it is not known."""
        return rank_of(value)

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The fixed shape of a tensor; refused if a dimension is only known at run time."""
        return shape_of(value)

    def dtype(self, name: str = "x") -> str:
        """The declared dtype of a parameter."""
        binding = self._one(name)
        return binding.dtype if isinstance(binding, Constant) else self._scope.dtype(binding)

    # -- constants ----------------------------------------------------------------------------------------------

    def array(self, name: str) -> Array:
        """The value of a parameter that is a constant, or follows from constants.

        Raises:
            Refused: it is computed at run time.
        """
        binding = self._one(name)
        found = self._scope.array(binding)
        if found is None:
            raise Refused(f"{name!r} is computed at run time ({binding}), a constant is needed")
        return found

    def arrays(self, name: str) -> list[Array]:
        """As :meth:`array`, for a parameter of several constants."""
        found = [self._scope.array(binding) for binding in self._many(name)]
        if any(array is None for array in found):
            raise Refused(f"{name!r} is computed at run time, constants are needed")
        return [array for array in found if array is not None]

    def known(self, name: str) -> Array | None:
        """As :meth:`array`; ``None`` if the value is only known at run time or not given."""
        self._unread.discard(name)
        return self._scope.array(self._one(name)) if self.has(name) else None

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of integers (or booleans)."""
        if default is not None and not self.has(name):
            self._unread.discard(name)
            return tuple(default)
        return tuple(int(item) for item in as_sequence(self.array(name)))

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer."""
        return self.ints(name, None if default is None else [default])[0]

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A boolean."""
        return bool(self.ints(name, None if default is None else [default])[0])

    def number(self, name: str, default: float | None = None) -> float:
        """A float."""
        if default is not None and not self.has(name):
            self._unread.discard(name)
            return default
        return float(self.array(name).reshape(-1)[0])

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        if default is not None and not self.has(name):
            self._unread.discard(name)
            return default
        return str(self.array(name).reshape(-1)[0])

    def choice(self, name: str, table: Mapping[str, Any], default: str | None = None) -> Any:
        """What the table has for a string parameter; refused if it has nothing."""
        text = self.text(name, default)
        if text not in table:
            raise Refused(f"{name} = {text!r} is not supported, only {', '.join(table)}")
        return table[text]

    # -- inside -------------------------------------------------------------------------------------------------

    def _many(self, name: str) -> Sequence[str | Constant]:
        self._unread.discard(name)
        if not self._arguments.get(name):
            raise ModelError(f"the parameter {name!r} is missing.")
        return self._arguments[name]

    def _one(self, name: str) -> str | Constant:
        return self._many(name)[0]


Lowering = Callable[[MilOperation, Emitter], Results]

mil: Table[Lowering] = Table("coreml", "onnx")

_DTYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


def dtype_of(text: str) -> str:
    """numpy's name of a dtype as MIL's string parameters say it (``fp16``, ``int32``)."""
    name = _DTYPES.get(text, text)
    if not re.fullmatch(r"bool|float16|float32|u?int(8|16|32)", name):
        raise Refused(f"the dtype {text!r} is not supported")
    return name
