"""How many operations a document makes at least, told without expanding it.

Thirty fragments that each call the one before twice make a thousand million operations from a kilobyte. Counting
calls per fragment once, instead of expanding, refuses such a file in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from workbench.formats.nnef import syntax as sx


def least_operations(document: sx.Document) -> int:
    """A lower bound of the operations after expansion; branches of ``if … else`` and comprehensions count nothing."""
    fragments = {fragment.name: fragment for fragment in document.fragments}
    counts: dict[str, int] = {}
    return sum(_count(name, fragments, counts, 0) for line in document.graph.body for name in _calls(line.value))


def _count(name: str, fragments: Mapping[str, sx.Fragment], counts: dict[str, int], depth: int) -> int:
    fragment = fragments.get(name)
    if fragment is None or fragment.body is None:
        return 1
    if name not in counts:
        counts[name] = 0  # what a recursion adds; the expansion itself bounds it
        if depth < 200:
            counts[name] = sum(
                _count(callee, fragments, counts, depth + 1) for line in fragment.body for callee in _calls(line.value)
            )
    return counts[name]


def _calls(expression: sx.Expression | None) -> Iterator[str]:
    """Names of the operations that evaluating the expression surely invokes."""
    if isinstance(expression, sx.Invocation):
        yield expression.target
        for argument in expression.arguments:
            yield from _calls(argument.value)
    elif isinstance(expression, sx.Array | sx.Tuple):
        for item in expression.items:
            yield from _calls(item)
    elif isinstance(expression, sx.Unary):
        yield from _calls(expression.operand)
    elif isinstance(expression, sx.Binary):
        yield from _calls(expression.left)
        if expression.operator not in ("&&", "||"):
            yield from _calls(expression.right)
    elif isinstance(expression, sx.Subscript):
        yield from _calls(expression.sequence)
    elif isinstance(expression, sx.Builtin):
        yield from _calls(expression.argument)
