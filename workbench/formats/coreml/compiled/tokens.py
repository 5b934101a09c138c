"""Tokens of MIL text, and the errors that say where in it something is wrong.

The text comes from a stranger: its size and the nesting of its brackets are bounded before anything is built from it.
A token is its own spelling; where it stands is looked up only for a message.
"""

from __future__ import annotations

import re
from typing import NoReturn

from workbench import limits
from workbench.errors import LimitError, ModelError

_TOKEN = re.compile(
    r"""
    "[^"\\]*(?:\\.[^"\\]*)*"?                                # a string; one that does not end reaches the text's end
    | tensor\s*<\s*[a-z]\w*\s*,\s*\[[0-9\s,?]*\]\s*>         # the type of most values is one token
    | [A-Za-z_]\w*
    | ->
    | [+-]?(?:0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*(?:[pP][+-]?[0-9]+)?
        | [0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?
        | inf\b | nan\b)
    | \S
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0", '"': '"', "'": "'",
    "\\": "\\", "/": "/", "?": "?",
}  # fmt: skip
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
DEEPEST = 16
"""How deep types, and blocks, may lie in one another; both at once stay within protobuf's depth of 100."""


class Tokens:
    """The tokens of one text, read from the front.

    Args:
        text: the file's content.
        where: what messages call the file.

    Raises:
        ModelError: it is not UTF-8.
        LimitError: longer than ``text_bytes`` or nested deeper than ``nesting`` of :mod:`workbench.limits`.
    """

    def __init__(self, text: bytes, where: str) -> None:
        self.where = where
        self._text = _decoded(text, where)
        self.items: list[str] = _TOKEN.findall(self._text)
        limits.check("nesting", _nesting(self.items), f"{where}, nesting of brackets")
        self.items.append("")  # no token is empty: the end of the file
        self.at = 0

    @property
    def next(self) -> str:
        """The token that comes next; ``""`` at the end of the file."""
        return self.items[self.at]

    @property
    def after(self) -> str:
        """The token behind the next one."""
        return self.items[self.at + 1] if self.at + 1 < len(self.items) else ""

    def take(self) -> str:
        """The next token, which is then behind us."""
        token = self.items[self.at]
        if token:
            self.at += 1
        return token

    def accept(self, token: str) -> bool:
        """Take the next token if it is this one."""
        if self.items[self.at] != token:
            return False
        self.at += 1
        return True

    def expect(self, token: str) -> None:
        """Take this token.

        Raises:
            ModelError: another one stands there.
        """
        if self.items[self.at] != token:
            self.expected(f"'{token}'")
        self.at += 1

    def name(self, what: str = "a name") -> str:
        """Take a name; ``what`` says of what, for the message."""
        token = self.items[self.at]
        if not token.isidentifier():
            self.expected(what)
        self.at += 1
        return token

    def string(self, at: int) -> str:
        """The string that a token is, its escapes resolved."""
        token = self.items[at]
        if not token.startswith('"'):
            self.expected("a string", at)
        body = token[1:-1]
        if len(token) < 2 or not token.endswith('"') or (len(body) - len(body.rstrip("\\"))) % 2:
            self.wrong("the string does not end.", at)
        return _ESCAPE.sub(lambda match: self._unescaped(match[1], at), body) if "\\" in body else body

    def _unescaped(self, code: str, at: int) -> str:
        if len(code) == 3:
            return chr(int(code[1:], 16))
        if code not in _ESCAPED:
            self.wrong(f"the escape \\{code} is not known.", at)
        return _ESCAPED[code]

    def size(self) -> int:
        """Take a number that is not negative."""
        token = self.items[self.at]
        if not (token.isascii() and token.isdecimal()) or len(token) > 18:
            self.expected("a size")
        self.at += 1
        return int(token)

    # -- what is wrong ------------------------------------------------------------------------------------------

    def expected(self, what: str, at: int | None = None) -> NoReturn:
        """Say that something else had to stand at a token (the next one by default)."""
        found = self.items[self.at if at is None else at]
        self.wrong(f"expected {what}; found {_shown(found) if found else 'the end of the file'}.", at)

    def wrong(self, message: str, at: int | None = None, *, limit: bool = False) -> NoReturn:
        """Raise a :class:`ModelError` (or :class:`LimitError`) that begins with ``file:line:column``."""
        raise (LimitError if limit else ModelError)(f"{self.place(at)}: {message}")

    def place(self, at: int | None = None) -> str:
        """``file:line:column`` of a token (the next one by default); lines and columns are counted from 1."""
        index = self.at if at is None else at
        start = len(self._text)
        for number, match in enumerate(_TOKEN.finditer(self._text)):
            if number == index:
                start = match.start()
                break
        line = self._text.count("\n", 0, start) + 1
        return f"{self.where}:{line}:{start - self._text.rfind(chr(10), 0, start)}"


def _decoded(text: bytes, where: str) -> str:
    limits.check("text_bytes", len(text), f"{where}, size in bytes")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        raise ModelError(f"{where}:{line}:{column}: the text is not UTF-8 (byte {text[error.start]:#04x}).") from None


def _nesting(tokens: list[str]) -> int:
    depth = deepest = 0
    for token in tokens:
        if token in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif token in _CLOSING:
            depth -= 1
    return deepest


def _shown(token: str) -> str:
    return repr(token if len(token) <= 40 else token[:37] + "…")
