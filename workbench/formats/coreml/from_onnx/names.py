"""Names that a Core ML program accepts, made from names that it may not."""

from __future__ import annotations

import re

_RESERVED = frozenset(
    {"any", "bool", "dict", "false", "func", "list", "program", "state", "string", "tensor", "true", "tuple"}
    | {"bf16", "fp16", "fp32", "fp64", "int4", "int8", "int16", "int32", "int64"}
    | {"uint1", "uint2", "uint3", "uint4", "uint6", "uint8", "uint16", "uint32", "uint64"}
)
"""Words of MIL's text form; a tensor of such a name cannot be compiled."""


def identifier(name: str) -> str:
    """The nearest name of the form ``[A-Za-z_][A-Za-z0-9_]*`` that is no word of MIL."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not text or not re.match(r"[A-Za-z_]", text):
        text = f"var_{text}"
    return f"{text}_" if text in _RESERVED else text


class Names:
    """Hands out identifiers, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """An identifier for the name that nothing else has."""
        base = identifier(name)
        candidate, count = base, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{base}_{count}"
        self._taken.add(candidate)
        return candidate

    def claim(self, name: str) -> bool:
        """Take the name as it is; false if something has it already."""
        if name in self._taken:
            return False
        self._taken.add(name)
        return True
