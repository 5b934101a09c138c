"""Declarations of operations, and the binding of arguments to their parameters with types checked.

The types are those of NNEF 1.0.5, section 2 ("Types"): a ``scalar`` is written with a point or exponent and an
``integer`` is never silently taken for one; a primitive value may stand where a tensor is wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources

from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.graph import TensorRef, Value
from workbench.formats.nnef.parser import parse_declarations


class Mismatch(Exception):
    """Arguments do not fit a declaration; the message lacks file and position, which the caller knows."""


@functools.cache
def standard_operations() -> Mapping[str, sx.Fragment]:
    """The declarations of the 121 standard operations, by name."""
    text = resources.files(__package__).joinpath("stdlib.nnef").read_text(encoding="utf-8")
    return {fragment.name: fragment for fragment in parse_declarations(text)}


def literal_value(expression: sx.Expression) -> Value:
    """The value of an expression made of literals only (a default value).

    Raises:
        Mismatch: the expression holds anything else.
    """
    if isinstance(expression, sx.Literal):
        return expression.value
    if isinstance(expression, sx.Array):
        return [literal_value(item) for item in expression.items]
    if isinstance(expression, sx.Tuple):
        return tuple(literal_value(item) for item in expression.items)
    raise Mismatch("a default value must be a literal")


def describe(value: Value, dtypes: Mapping[str, str]) -> str:
    """The type of a value in NNEF's notation, for messages."""
    if isinstance(value, TensorRef):
        return f"tensor<{dtypes.get(value.name, '')}>"
    if isinstance(value, list):
        return f"{describe(value[0], dtypes)}[]" if value else "[]"
    if isinstance(value, tuple):
        return f"({', '.join(describe(item, dtypes) for item in value)})"
    return primitive_name(value)


def primitive_name(value: Value) -> str:
    """``logical``, ``integer``, ``scalar`` or ``string``; ``""`` if the value is none of them."""
    for kind, name in ((bool, "logical"), (int, "integer"), (float, "scalar"), (str, "string")):
        if isinstance(value, kind):
            return name
    return ""


def fits(value: Value, kind: sx.Type, dtype: str | None, dtypes: Mapping[str, str]) -> bool:
    """Whether a value may be given for a parameter of type ``kind``, ``?`` standing for ``dtype``."""
    if isinstance(kind, sx.ArrayOf):
        return isinstance(value, list) and all(fits(item, kind.item, dtype, dtypes) for item in value)
    if isinstance(kind, sx.TupleOf):
        return (
            isinstance(value, tuple)
            and len(value) == len(kind.items)
            and all(fits(item, item_kind, dtype, dtypes) for item, item_kind in zip(value, kind.items, strict=True))
        )
    if isinstance(kind, sx.TensorOf):
        actual = dtypes.get(value.name, "") if isinstance(value, TensorRef) else primitive_name(value)
        wanted = dtype if kind.dtype == "?" else kind.dtype
        return actual not in ("", "string") and wanted in (None, actual)
    return primitive_name(value) != "" and (dtype if kind.name == "?" else kind.name) in (None, primitive_name(value))


def bind(
    declaration: sx.Fragment,
    arguments: Sequence[tuple[str | None, Value]],
    dtype: str | None,
    dtypes: Mapping[str, str],
    loose: bool = False,
) -> tuple[dict[str, Value], str | None]:
    """Bind (name or ``None``, value) pairs to the parameters, in the declaration's order, with defaults.

    Args:
        loose: whether types are taken as tract takes them: an integer is a number too, a single item is a list of
            one, and tensors may be of any type.

    Returns:
        The bound arguments, and what ``?`` stands for (``None`` if the declaration is not generic).

    Raises:
        Mismatch: too many, unknown, repeated or missing arguments, or one of a wrong type.
    """
    if dtype is not None and not declaration.generic and not loose and not _says_the_same(declaration, dtype):
        raise Mismatch(f"{declaration.name} takes no type argument, found <{dtype}>")
    given = _matched(declaration, arguments)
    resolved = dtype or declaration.generic_default or _deduced(declaration, given, dtypes)
    if declaration.generic and resolved is None and not loose:
        raise Mismatch(f"the type that {declaration.name} works on cannot be deduced; write {declaration.name}<…>(…)")
    bound: dict[str, Value] = {}
    for parameter in declaration.parameters:
        if parameter.name in given:
            value = given[parameter.name]
        elif parameter.default is not None:
            value = literal_value(parameter.default)
        else:
            raise Mismatch(f"{declaration.name} lacks the argument '{parameter.name}'")
        if loose:
            value = _taken(value, parameter.type)
        if not (_near(value, parameter.type) if loose else fits(value, parameter.type, resolved, dtypes)):
            wanted = str(parameter.type).replace("?", resolved or "?")
            found = describe(value, dtypes)
            hint = ", write it with a decimal point" if found == "integer" and "scalar" in wanted else ""
            raise Mismatch(
                f"argument '{parameter.name}' of {declaration.name} has type {found}, expected {wanted}{hint}"
            )
        bound[parameter.name] = value
    return bound, resolved if declaration.generic else None


def _says_the_same(declaration: sx.Fragment, dtype: str) -> bool:
    """Whether a type argument, which the declaration has no place for, only repeats the type of its tensors."""
    kinds = [str(part.type) for part in declaration.parameters] + [str(part.type) for part in declaration.results]
    tensors = [kind for kind in kinds if "tensor" in kind]
    return bool(tensors) and all(f"tensor<{dtype}>" in kind for kind in tensors)


def _taken(value: Value, kind: sx.Type) -> Value:
    """The value as tract takes it for a parameter of the type."""
    if isinstance(kind, sx.ArrayOf):
        if isinstance(value, tuple):
            value = list(value)
        if not isinstance(value, list):
            return value if isinstance(value, TensorRef) else [_taken(value, kind.item)]
        return [_taken(item, kind.item) for item in value]
    if isinstance(kind, sx.Primitive) and kind.name == "scalar" and type(value) is int:
        return float(value)
    if isinstance(kind, sx.Primitive) and kind.name == "logical" and type(value) is int:
        return bool(value)
    return value


def _near(value: Value, kind: sx.Type) -> bool:
    """Whether the value is of the sort that the type is: text, list, or tensor and number."""
    if isinstance(kind, sx.ArrayOf):
        return isinstance(value, TensorRef) or all(_near(item, kind.item) for item in value)
    if isinstance(kind, sx.TupleOf):
        return isinstance(value, tuple | list) and len(value) == len(kind.items)
    if isinstance(kind, sx.Primitive) and kind.name == "string":
        return isinstance(value, str)
    return (
        isinstance(value, list)
        if isinstance(kind, sx.TensorOf) and isinstance(value, list)
        else not isinstance(value, str | tuple | list)
    )


def _matched(declaration: sx.Fragment, arguments: Sequence[tuple[str | None, Value]]) -> dict[str, Value]:
    names = [parameter.name for parameter in declaration.parameters]
    given: dict[str, Value] = {}
    named_before = False
    for index, (name, value) in enumerate(arguments):
        if name is None:
            if named_before:
                raise Mismatch(f"{declaration.name}: a positional argument stands after a named one")
            if index >= len(names):
                raise Mismatch(f"{declaration.name} takes {len(names)} arguments, found {len(arguments)}")
            name = names[index]
        else:
            named_before = True
        if name not in names:
            raise Mismatch(f"{declaration.name} has no parameter '{name}' (it has {', '.join(names)})")
        if name in given:
            raise Mismatch(f"{declaration.name}: argument '{name}' is given twice")
        given[name] = value
    return given


def _deduced(declaration: sx.Fragment, given: Mapping[str, Value], dtypes: Mapping[str, str]) -> str | None:
    """What ``?`` must be, from the first argument of a generic type that is not empty."""
    for parameter in declaration.parameters:
        found = _generic_part(parameter.type, given.get(parameter.name), dtypes)
        if found is not None:
            return found
    return None


def _generic_part(kind: sx.Type, value: Value, dtypes: Mapping[str, str]) -> str | None:
    if value is None:
        return None
    if isinstance(kind, sx.ArrayOf) and isinstance(value, list):
        return next((found for item in value if (found := _generic_part(kind.item, item, dtypes))), None)
    if isinstance(kind, sx.TupleOf) and isinstance(value, tuple):
        pairs = zip(kind.items, value, strict=False)
        return next((found for part, item in pairs if (found := _generic_part(part, item, dtypes))), None)
    generic = (isinstance(kind, sx.TensorOf) and kind.dtype == "?") or (
        isinstance(kind, sx.Primitive) and kind.name == "?"
    )
    if not generic:
        return None
    if isinstance(value, TensorRef):
        return dtypes.get(value.name)
    return primitive_name(value) or None
