"""What the names of a program stand for in the hub, in two forms: as declared, and as calculated with.

float16 tensors are kept as declared, so that rounding and overflow are float16's; every calculation runs in float32 and
is cast to float16 behind it (onnxruntime's own float16 keeps float32 between operators, which rounds too late).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.errors import ModelError
from workbench.formats.coreml.values import Constant
from workbench.hub import Emitter, dims_of, dtype_name, dtype_named, set_type

Array = np.ndarray[Any, Any]

WIDER = {"float16": "float32", "int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32"}
"""Declared dtype → the dtype calculated in, where they differ."""

_NARROWING = {
    "float32": {"float16"},
    "int32": {"int8", "uint8", "int16", "uint16"},
    "int64": {"int32", "int8", "uint8", "int16", "uint16"},
}


class Scope:
    """The tensors of one block; made anew for each lowering of a program.

    Args:
        emitter: of the graph that the block becomes.
        outer: the scope around a nested block. Constants go to the outermost, where any graph can read them.
        suffix: ends the hub's names of the block's tensors, where the block is lowered more than once.
        hub_names: what tensors of this block are called in the hub, where that is not as the program has it.

    Attributes:
        turn: inside a loop, a word that differs from iteration to iteration (for random numbers).
    """

    def __init__(
        self,
        emitter: Emitter,
        outer: Scope | None = None,
        suffix: str = "",
        hub_names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.emitter = emitter
        self._outer = outer
        self._hub_names = hub_names
        self.suffix: str = (outer.suffix if outer is not None else "") + suffix
        self.turn: ir.Value | None = outer.turn if outer is not None else None
        self.constants: dict[str, Constant] = {}
        self._raw: dict[str, ir.Value] = {}
        self._arithmetic: dict[str, ir.Value] = {}

    # -- filling ------------------------------------------------------------------------------------------------

    def declare(self, name: str, constant: Constant) -> None:
        """A constant of the program; it reaches the graph when it is first used."""
        if self._outer is not None:
            self._outer.declare(name, constant)
        else:
            self.constants[name] = constant

    def adopt(self, name: str, value: ir.Value) -> None:
        """An input of a nested block that stands for a tensor which is there already."""
        self._raw[name] = value

    def input(self, spec: TensorSpec) -> ir.Value:
        """An input of the model."""
        value = self.emitter.input(spec.name + self.suffix, spec.dtype, spec.shape)
        self._raw[spec.name] = value
        return value

    def rebind(self, name: str, value: ir.Value) -> bool:
        """From here on the name, a state of this scope, stands for another value; ``False`` if it is not of this scope.

        Raises:
            ModelError: the value is of another dtype or shape than the state.
        """
        if name not in self._raw:
            return False
        before = self._raw[name]
        spec = TensorSpec(name, dtype_name(before.dtype), dims_of(before))
        if value.dtype is not before.dtype:
            raise ModelError(f"the state {spec} is overwritten with {dtype_name(value.dtype)}.")
        self._check_shape(spec, value)
        self._raw[name] = value
        self._arithmetic.pop(name, None)
        return True

    def stand_in(self, spec: TensorSpec) -> None:
        """A tensor of a refused operation: typed as declared, so that the operations after it can be judged."""
        dtype = spec.dtype if spec.dtype in _KNOWN else "float32"
        self._raw[spec.name] = set_type(ir.Value(name=spec.name), dtype, spec.shape)

    def bind(self, spec: TensorSpec, value: ir.Value) -> ir.Value:
        """A result: cast to the declared dtype where it was calculated in a wider one, and named as declared.

        Raises:
            ModelError: dtype or shape contradict the declaration.
        """
        found = dtype_name(value.dtype)
        if found != spec.dtype:
            if spec.dtype not in _NARROWING.get(found, ()):
                raise ModelError(f"{spec.name!r} is declared as {spec.dtype} but comes out as {found}.")
            value = self.emitter.op("Cast", value, to=dtype_named(spec.dtype).value)
        self._check_shape(spec, value)
        value = self.emitter.rename(value, self._hub_names.get(spec.name, spec.name) + self.suffix)
        if spec.shape is not None and value.shape is not None:
            dims = [new if isinstance(new, int) else old for old, new in zip(value.shape, spec.shape, strict=True)]
            value.shape = ir.Shape(dims)
        elif spec.shape is not None:
            value.shape = ir.Shape(spec.shape)
        self._raw[spec.name] = value
        self._arithmetic.pop(spec.name, None)
        return value

    def _check_shape(self, spec: TensorSpec, value: ir.Value) -> None:
        found = dims_of(value)
        if spec.shape is None or found is None:
            return
        if len(found) != len(spec.shape) or any(
            isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(found, spec.shape, strict=True)
        ):
            raise ModelError(f"{spec.name!r} is declared as {spec.describe()} but has shape {found}.")

    # -- reading ------------------------------------------------------------------------------------------------

    def raw(self, binding: str | Constant) -> ir.Value:
        """The tensor in its declared dtype."""
        if self._outer is not None and self._is_outer(binding):
            return self._outer.raw(binding)
        return self._look_up(binding, self._raw, self._store)

    def arithmetic(self, binding: str | Constant) -> ir.Value:
        """The tensor in the dtype that is calculated in."""
        if self._outer is not None and self._is_outer(binding):
            return self._outer.arithmetic(binding)
        return self._look_up(binding, self._arithmetic, self._widen)

    def dtype(self, name: str) -> str:
        """The declared dtype of a name."""
        if self._outer is not None and self._is_outer(name):
            return self._outer.dtype(name)
        constant = self.constants.get(name)
        return constant.dtype if constant is not None else dtype_name(self.raw(name).dtype)

    def array(self, binding: str | Constant) -> Array | None:
        """The value of a name that is constant or follows from constants; else ``None``."""
        if self._outer is not None and self._is_outer(binding):
            return self._outer.array(binding)
        constant = binding if isinstance(binding, Constant) else self.constants.get(binding)
        if constant is not None:
            return constant.array()
        return self.emitter.known(self.raw(binding))

    def constant(self, binding: str | Constant, where: str) -> Array:
        """The value of a name that has to be constant.

        Raises:
            ModelError: it is computed.
        """
        found = self.array(binding)
        if found is None:
            raise ModelError(f"{where}: reads {binding!r}, which is no constant.")
        return found

    # -- inside -------------------------------------------------------------------------------------------------

    def _is_outer(self, binding: str | Constant) -> bool:
        """Whether a name means a tensor of a scope around this one (and is not a constant given in place)."""
        return isinstance(binding, str) and binding not in self._raw

    def _look_up(
        self, binding: str | Constant, found: dict[str, ir.Value], make: Callable[[str | Constant, str], ir.Value]
    ) -> ir.Value:
        if isinstance(binding, Constant):
            return make(binding, "")
        if binding not in found:
            found[binding] = make(binding, binding)
        return found[binding]

    def _store(self, binding: str | Constant, name: str) -> ir.Value:
        constant = binding if isinstance(binding, Constant) else self.constants.get(binding)
        if constant is None:
            raise ModelError(f"the tensor {name!r} is used before anything makes it.")
        if constant.dtype not in _KNOWN:
            raise ModelError(f"a tensor of dtype {constant.dtype} ({name!r}) cannot be calculated with.")
        return self.emitter.tensor(ir.tensor(constant.array()), name or None)

    def _widen(self, binding: str | Constant, name: str) -> ir.Value:
        constant = binding if isinstance(binding, Constant) else self.constants.get(binding)
        wide = WIDER.get(constant.dtype if constant is not None else dtype_name(self.raw(binding).dtype))
        if wide is None:
            return self.raw(binding)
        if constant is None:
            return self.emitter.op("Cast", self.raw(binding), to=dtype_named(wide).value)
        lazy = ir.LazyTensor(
            lambda: ir.tensor(constant.array().astype(wide)), dtype_named(wide), ir.Shape(constant.shape), cache=True
        )
        return self.emitter.tensor(lazy, name or None)


_KNOWN = {
    "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip
