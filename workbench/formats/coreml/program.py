"""The view of an ML program that layers are stated from and lowerings are written against."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from workbench import limits
from workbench.document import Layer, TensorSpec
from workbench.errors import ModelError
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.values import Constant, Values, named_spec, shown

_FIRST_RELEASE = 10  # the operator set CoreML5 came with iOS 15, CoreML6 with iOS 16, …
_FLOAT16, _FLOAT32 = 10, 11  # MILSpec.DataType
_WEIGHT_KINDS = ("float", "bfloat", "uint1", "uint2", "uint3", "uint4", "uint6", "int4", "uint8", "int8")


class Program:
    """One function of an ML program.

    Args:
        message: the ``MILSpec.Program`` message.
        package: where its weights are.
        function: the function to take; the program's only or main one by default.
        widen: take every float16 for float32.

    Raises:
        ModelError: there is no such function, or its operator set is not known.
    """

    def __init__(self, message: Any, package: Package, function: str = "", widen: bool = False) -> None:
        self.package = package
        self.values = Values(package, widen)
        names = list(message.functions)
        self.name = function or ("main" if "main" in names else names[0] if len(names) == 1 else "main")
        if self.name not in names:
            raise ModelError(f"{package.label}: the program has no function {self.name!r} (it has {names}).")
        found = message.functions[self.name]
        if found.opset not in found.block_specializations:
            raise ModelError(f"{package.label}: the function {self.name!r} has no block for the opset {found.opset!r}.")
        if widen:
            found = _widened(found)
        self.block: Any = found.block_specializations[found.opset]
        self.version = _release(found.opset, package.label)
        self.inputs = tuple(named_spec(named, f"{package.label}: the input") for named in found.inputs)
        names = [spec.name for spec in self.inputs]
        if len(set(names)) < len(names):
            raise ModelError(f"{package.label}: two inputs of the function {self.name!r} have one name.")
        made = {named.name for operation in self.block.operations for named in operation.outputs}
        nowhere = next((name for name in self.block.outputs if name not in made.union(names)), None)
        if nowhere is not None:
            raise ModelError(f"{package.label}: the output {nowhere!r} of the program is made by no operation.")

    def layers(self) -> tuple[Layer, ...]:
        """Every operation of the function but its constants; operations of nested blocks follow their owner."""
        constants: dict[str, Constant] = {}
        return tuple(self._layers(self.block, constants, 0))

    def _layers(self, block: Any, constants: dict[str, Constant], depth: int) -> Iterator[Layer]:
        limits.check("nesting", depth, self.package.label)
        limits.check("nodes", len(block.operations), self.package.label)
        for operation in block.operations:
            if operation.type == "const":
                constants[operation.outputs[0].name] = self.constant(operation)
                continue
            yield self._layer(operation, constants)
            for nested in operation.blocks:
                yield from self._layers(nested, constants, depth + 1)

    def constant(self, operation: Any) -> Constant:
        """The value of a ``const`` operation.

        Raises:
            ModelError: it has no value, or one that cannot be read.
        """
        if "val" not in operation.attributes or not operation.outputs:
            raise ModelError(f"{self.package.label}: a const operation without a value.")
        where = f"{self.package.label}: the constant {operation.outputs[0].name!r}"
        return self.values.constant(operation.attributes["val"], where)

    def arguments(self, operation: Any) -> dict[str, list[str | Constant]]:
        """Parameter name → the names bound to it, or constants that stand in the operation itself."""
        where = f"{self.package.label}: {operation.type} {layer_name(operation)!r}"
        found: dict[str, list[str | Constant]] = {}
        for name, argument in operation.inputs.items():
            found[name] = [
                binding.name
                if binding.WhichOneof("binding") == "name"
                else self.values.constant(binding.value, f"{where}: {name!r}")
                for binding in argument.arguments
            ]
        for name, value in operation.attributes.items():
            if name != "name" and value.type.WhichOneof("type") in ("tensorType", "listType"):
                found.setdefault(name, [self.values.constant(value, f"{where}: {name!r}")])
        return found

    def _layer(self, operation: Any, constants: dict[str, Constant]) -> Layer:
        inputs: list[str] = []
        attributes: dict[str, Any] = {}
        parameters = 0
        for name, bindings in sorted(self.arguments(operation).items()):
            for binding in bindings:
                constant = constants.get(binding) if isinstance(binding, str) else binding
                if constant is not None and is_attribute(constant):
                    attributes[name] = shown(constant.array())
                    continue
                parameters += constant.size if constant is not None else 0
                inputs.append(binding if isinstance(binding, str) else f"{layer_name(operation)}.{name}")
        where = f"{self.package.label}: {operation.type}"
        outputs = tuple(named_spec(named, where) for named in operation.outputs)
        return Layer(layer_name(operation), operation.type, tuple(inputs), outputs, attributes, parameters)


def is_attribute(constant: Constant) -> bool:
    """Whether a constant parameter tells an operation how to work, rather than being a weight it works with."""
    return not constant.shape or not constant.dtype.startswith(_WEIGHT_KINDS)


def layer_name(operation: Any) -> str:
    """An operation's layer is named by its first output: its own ``name`` need not be unique, nor be there."""
    if operation.outputs:
        return str(operation.outputs[0].name)
    attributes = operation.attributes
    named = attributes["name"].immediateValue.tensor.strings.values if "name" in attributes else ()
    return str(named[0]) if named else str(operation.type)


def block_outputs(program: Program) -> dict[str, TensorSpec]:
    """The specs of everything that the function's operations and inputs make, by name."""
    found = {spec.name: spec for spec in program.inputs}
    for operation in program.block.operations:
        for named in operation.outputs:
            found[named.name] = named_spec(named, f"{program.package.label}: {operation.type}")
    return found


def _widened(function: Any) -> Any:
    """A copy of a function in which every tensor that is declared as float16 is declared as float32."""
    copy = type(function)()
    copy.CopyFrom(function)
    for named in copy.inputs:
        _widen(named.type)
    for block in copy.block_specializations.values():
        _widen_block(block)
    return copy


def _widen_block(block: Any) -> None:
    for named in (*block.inputs, *(named for operation in block.operations for named in operation.outputs)):
        _widen(named.type)
    for operation in block.operations:
        for nested in operation.blocks:
            _widen_block(nested)


def _widen(value_type: Any) -> None:
    kind = value_type.WhichOneof("type")
    if kind == "stateType":
        _widen(value_type.stateType.wrappedType)
    elif kind == "listType":
        _widen(value_type.listType.type)
    elif kind == "tensorType" and value_type.tensorType.dataType == _FLOAT16:
        value_type.tensorType.dataType = _FLOAT32


def unused(name: str, taken: Collection[str]) -> str:
    """The name, numbered if it is taken."""
    found, count = name, 0
    while found in taken:
        count += 1
        found = f"{name}/{count}"
    return found


def _release(opset: str, label: str) -> int:
    """The iOS release that an operator set came with."""
    number = opset.removeprefix("CoreML")
    if number == opset or not number.isdecimal() or not 5 <= int(number) <= 9:
        raise ModelError(f"{label}: the operator set {opset!r} is not known; CoreML5 to CoreML9 are.")
    return int(number) + _FIRST_RELEASE
