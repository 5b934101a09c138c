"""Protobuf messages without their schema: taken apart into fields, changed, and put together again.

https://protobuf.dev/programming-guides/encoding/. Lengths are made anew, so that a change deep inside stays a message.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Field:
    """One field: a number, its wire type (0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes), what it holds."""

    number: int
    wire: int
    value: int | bytes | list[Field]


def parse(data: bytes, depth: int = 0) -> list[Field] | None:
    """The fields of a message, messages inside it taken apart too; ``None`` if the bytes are none."""
    fields, place = [], 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        value: int | bytes | list[Field]
        if number == 0 or place < 0:
            return None
        if wire == 0:
            value, place = _varint(data, place)
            if place < 0:
                return None
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if place + size > len(data):
                return None
            value, place = data[place : place + size], place + size
        elif wire == 2:
            length, place = _varint(data, place)
            if place < 0 or place + length > len(data):
                return None
            value, place = data[place : place + length], place + length
            inner = parse(value, depth + 1) if depth < 30 and length > 1 else None
            value = value if inner is None else inner
        else:
            return None
        fields.append(Field(number, wire, value))
    return fields


def _varint(data: bytes, place: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            return 0, -1
        result |= (data[place] & 0x7F) << shift
        place += 1
        if data[place - 1] < 0x80:
            return result, place
    return 0, -1


def serialize(fields: list[Field]) -> bytes:
    """The bytes of a message."""
    parts = []
    for field in fields:
        parts.append(varint(field.number << 3 | field.wire))
        if isinstance(field.value, int):
            parts.append(varint(field.value))
            continue
        data = serialize(field.value) if isinstance(field.value, list) else field.value
        parts.append(varint(len(data)) + data if field.wire == 2 else data)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """The encoding of an unsigned integer of up to 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def places(fields: list[Field]) -> Iterator[tuple[list[Field], int]]:
    """Every field, as the list that it is in and its index there."""
    for index, field in enumerate(fields):
        yield fields, index
        if isinstance(field.value, list):
            yield from places(field.value)


def changed(data: bytes, rng: random.Random) -> bytes:
    """Change one field of a message: its value or number; or drop, repeat, move or nest it."""
    from tests.hostile.mutate import INTEGERS

    fields = parse(data)
    if not fields:
        return data[: rng.randrange(len(data) + 1)]
    found = list(places(fields))
    holder, index = rng.choice(found)
    field = holder[index]
    how = rng.randrange(12)
    if how <= 4 and isinstance(field.value, int):
        field.value = rng.choice(INTEGERS) if rng.random() < 0.7 else field.value + rng.choice((-1, 1))
    elif how <= 4 and isinstance(field.value, bytes) and field.wire == 2:
        field.value = _text(field.value, rng)
    elif how <= 6:
        del holder[index]
    elif how == 7:
        holder[index:index] = [field] * rng.choice((1, 1, 2, 40))
    elif how == 8:
        other, place = rng.choice(found)
        holder[index] = Field(field.number, other[place].wire, copy.deepcopy(other[place].value))
    elif how == 9:
        field.number = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 25, field.number + 1))
    elif how == 10:
        other, place = rng.choice(found)
        other.insert(place, Field(other[place].number, field.wire, copy.deepcopy(field.value)))
    else:
        holder.reverse()
    return serialize(fields)


def _text(value: bytes, rng: random.Random) -> bytes:
    """Another text, or a few changed bytes."""
    if rng.random() < 0.4:
        return rng.choice(
            (b"", b"x", b"y", b"../x", b"\xff\xfe", b"\0", b"<b>", b"a" * 3000, b"w", b"Loop", b"Split", b"NCHW")
        )
    content = bytearray(value)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(content) + 1)
        content[place : place + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
    return bytes(content)
