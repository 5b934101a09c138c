"""The interface of a compiled model without ``metadata.json``, from its functions alone.

A function states its inputs; where a size is open, its attribute ``FlexibleShapeInformation`` says which sizes are
allowed and which is meant if none is given. Pictures cannot be told from arrays here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import ModelError
from workbench.formats.coreml.compiled.features import fill_array, name_classifier

_ARRAYS = {10: 0x10010, 11: 0x10020, 12: 0x10040, 21: 0x20008, 23: 0x20020}  # MILSpec.DataType → ArrayDataType
_STRING, _INT64 = 2, 24
_FLEXIBLE = "FlexibleShapeInformation"
_OPEN = (1, -1)


def describe_functions(description: Any, program: Any, attributes: Mapping[str, Any], where: str) -> None:
    """Fill a ``ModelDescription`` from the functions of a ``MILSpec.Program``.

    Args:
        description: what to fill.
        program: the program.
        attributes: function → the attributes that it has in the text.
        where: what messages call the file.

    Raises:
        ModelError: an input or output is of a type that an interface cannot have.
    """
    several = len(program.functions) > 1
    for name in sorted(program.functions):
        into = description.functions.add() if several else description
        if several:
            into.name = name
        _describe(into, program.functions[name], _flexible(attributes[name]), f"{where}: the function {name!r}")
    if several:
        description.defaultFunctionName = "main" if "main" in program.functions else min(program.functions)


def _describe(into: Any, function: Any, flexible: Mapping[str, Any], where: str) -> None:
    for named in function.inputs:
        if named.type.WhichOneof("type") == "stateType":
            state = into.state.add(name=named.name)
            _array(state.type.stateType.arrayType, named.type.stateType.wrappedType, {}, named.name, where)
        else:
            _array(into.input.add(name=named.name).type.multiArrayType, named.type, flexible, named.name, where)
    block = function.block_specializations[function.opset]
    made = {named.name: named.type for operation in block.operations for named in operation.outputs}
    made.update((named.name, named.type) for named in function.inputs)
    for name in block.outputs:
        if name not in made:
            raise ModelError(f"{where} makes no output {name!r}.")
        _output(into.output.add(name=name).type, made[name], name, where)
    name_classifier(into)


def _output(into: Any, type_: Any, name: str, where: str) -> None:
    kind = type_.WhichOneof("type")
    if kind == "dictionaryType":
        key = type_.dictionaryType.keyType.tensorType.dataType
        getattr(into.dictionaryType, "stringKeyType" if key == _STRING else "int64KeyType").SetInParent()
    elif kind == "tensorType" and type_.tensorType.dataType == _STRING:
        into.stringType.SetInParent()
    elif kind == "tensorType" and type_.tensorType.dataType == _INT64:
        into.int64Type.SetInParent()
    else:
        _array(into.multiArrayType, type_, {}, name, where)


def _array(into: Any, type_: Any, flexible: Mapping[str, Any], name: str, where: str) -> None:
    dtype = _ARRAYS.get(type_.tensorType.dataType) if type_.WhichOneof("type") == "tensorType" else None
    if dtype is None:
        raise ModelError(
            f"{where}: {name!r} is of a type that no interface has; without metadata.json it cannot be understood."
        )
    dims = [int(dim.constant.size) if dim.HasField("constant") else None for dim in type_.tensorType.dimensions]
    ranges = flexible.get("RangeDims", {}).get(name, ())
    shapes = flexible.get("EnumeratedShapes", {}).get(name, ())
    if None in dims and not ranges and not shapes:
        ranges = [_OPEN if dim is None else (dim, dim) for dim in dims]
    shape = flexible.get("DefaultShapes", {}).get(name) or [1 if dim is None else dim for dim in dims]
    fill_array(into, dtype, shape, ranges=ranges, shapes=shapes)


# -- allowed shapes ------------------------------------------------------------------------------------------------


def _flexible(function: Any) -> dict[str, dict[str, Any]]:
    """``DefaultShapes`` and ``RangeDims`` by input; ``EnumeratedShapes`` too, regrouped by input."""
    if _FLEXIBLE not in function.attributes:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for item in function.attributes[_FLEXIBLE].immediateValue.tuple.values:
        name, shapes = (*map(_plain, item.immediateValue.tuple.values), None, None)[:2]
        if isinstance(name, str) and isinstance(shapes, dict):
            found[name] = _by_input(shapes) if name == "EnumeratedShapes" else shapes
    return found


def _by_input(choices: Mapping[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for shapes in choices.values():
        for name, shape in shapes.items():
            if shape not in found.setdefault(name, []):
                found[name].append(shape)
    return found


def _plain(value: Any) -> Any:
    """A ``MILSpec.Value`` as Python values; a tensor as the list of its elements, a scalar as itself."""
    immediate = value.immediateValue
    kind = immediate.WhichOneof("value")
    if kind == "tensor":
        elements = [*immediate.tensor.strings.values, *immediate.tensor.ints.values, *immediate.tensor.longInts.values]
        return elements if value.type.tensorType.rank else elements[0] if elements else None
    if kind == "dictionary":
        return {_plain(pair.key): _plain(pair.value) for pair in immediate.dictionary.values}
    if kind in ("list", "tuple"):
        return [_plain(item) for item in getattr(immediate, kind).values]
    return None
