"""Control flow: layers that hold networks of their own become nodes with subgraphs.

The networks share their blobs with the network around them: what they write is what is read behind them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from workbench import limits
from workbench.errors import ModelError
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, integers, lowered, network
from workbench.formats.coreml.tensors import own_outputs
from workbench.formats.coreml.to_onnx.random import turn_of
from workbench.hub import Emitter, dims_of, set_type
from workbench.lowering import Refused

Blobs = dict[str, ir.Value]
_JUMPS = ("loopBreak", "loopContinue")


def nested(message: Any) -> tuple[Any, ...]:
    """The networks inside a layer, in the order that they run in."""
    kind = message.WhichOneof("layer")
    if kind == "branch":
        return message.branch.ifBranch, message.branch.elseBranch
    return (message.loop.conditionNetwork, message.loop.bodyNetwork) if kind == "loop" else ()


def touched(message: Any) -> tuple[list[str], list[str]]:
    """Every blob that a layer, or a layer inside it, reads; and every one that it writes."""
    reads, writes = list(message.input), list(message.output)
    if message.WhichOneof("layer") == "loop" and message.loop.conditionVar:
        reads.append(message.loop.conditionVar)
    for inner in itertools.chain.from_iterable(part.layers for part in nested(message)):
        inner_reads, inner_writes = touched(inner)
        reads += inner_reads
        writes += inner_writes
    return list(dict.fromkeys(reads)), list(dict.fromkeys(writes))


def _written(messages: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(name for message in messages for name in touched(message)[1]))


def _jumps(message: Any) -> Iterator[str]:
    """The kinds of the layers inside it that leave the body of the loop around it."""
    kind = message.WhichOneof("layer")
    if kind in _JUMPS:
        yield kind
    elif kind == "branch":
        for inner in itertools.chain.from_iterable(part.layers for part in nested(message)):
            yield from _jumps(inner)


def _draws(message: Any) -> bool:
    """Whether the layer, or one inside it, draws random numbers."""
    kind = message.WhichOneof("layer") or ""
    inner = itertools.chain.from_iterable(part.layers for part in nested(message))
    return kind.startswith("random") or kind == "categoricalDistribution" or any(map(_draws, inner))


@dataclass
class _Site:
    """Where nested layers are lowered into.

    Attributes:
        layer: the layer of the outermost network, which everything is stamped with.
        path: begins the names of values.
        count: layers lowered so far, a list of one that all sites of a layer share.
        turn: inside a loop, a word that differs from iteration to iteration (for random numbers).
    """

    layer: str
    path: str
    emitter: Emitter
    count: list[int] = field(default_factory=lambda: [0])
    turn: ir.Value | None = None

    def within(self, part: str) -> _Site:
        """A part of the same graph."""
        return replace(self, path=f"{self.path}/{part}")

    def inside(self, part: str) -> _Site:
        """A graph of its own."""
        path = f"{self.path}/{part}"
        return _Site(self.layer, path, Emitter(path), self.count, self.turn)


def _run(messages: Sequence[Any], blobs: Blobs, site: _Site) -> ir.Value | bool:
    """Lower layers one after the other; whether the loop around them goes on (``False``: a ``loopBreak`` was met)."""
    for index, message in enumerate(messages):
        kind = message.WhichOneof("layer")
        if kind in _JUMPS:
            return bool(kind == "loopContinue")
        site.count[0] += 1
        limits.check("nodes", site.count[0], site.layer)
        missing = [name for name in message.input if name not in blobs]
        if missing:
            raise ModelError(f"{kind} {message.name!r} reads {missing[0]!r}, which nothing before it makes.")
        with site.emitter.layer([site.layer], hint=f"{site.path}/{message.name}"):
            if any(_jumps(message)):
                return _branch(message, blobs, site, messages[index + 1 :])
            if kind == "branch":
                _branch(message, blobs, site, None)
            elif kind == "loop":
                _loop(message, blobs, site)
            else:
                _plain(message, blobs, site)
    return True


def _plain(message: Any, blobs: Blobs, site: _Site) -> None:
    kind = message.WhichOneof("layer") or "untyped"
    parameters = getattr(message, kind) if kind != "untyped" else message
    name = f"{site.path}/{message.name}"
    inputs = [blobs[source] for source in message.input]
    layer = NetworkLayer(kind, parameters, inputs, len(message.output), name)
    layer.turn = site.turn
    try:
        values = lowered(layer, site.emitter)
    except Refused as refusal:
        raise Refused(f"{kind} {message.name!r} inside it: {refusal.cause}", refusal.way_out) from refusal
    blobs.update(zip(message.output, values, strict=True))


def _scalar(emit: Emitter, value: ir.Value, dtype: ir.DataType = ir.DataType.BOOL) -> ir.Value:
    """A tensor of one element as a truth value (or another dtype) without dimensions."""
    cast = value if value.dtype is dtype else emit.op("Cast", value, to=dtype.value)
    return emit.op("Reshape", cast, emit.const([], "int64"))


def _graph(site: _Site, values: Sequence[ir.Value], name: str) -> ir.Attr:
    """The site's graph as an attribute."""
    return ir.AttrGraph(name, site.emitter.finish(own_outputs(site.emitter, values)).graph)


def _common(first: ir.Value, second: ir.Value) -> Sequence[Any] | None:
    """The shape that covers both values'."""
    one, other = dims_of(first), dims_of(second)
    if one is None or other is None or len(one) != len(other):
        return None
    return [size if size == same else None for size, same in zip(one, other, strict=True)]


def _branch(message: Any, blobs: Blobs, site: _Site, rest: Sequence[Any] | None) -> ir.Value | bool:
    """The input chooses one of two networks.

    Args:
        rest: the layers behind, if one of the networks may leave the body of the loop around it: they become the end of
            both networks, which tell whether the loop goes on.
    """
    networks = [[*part.layers, *(rest or ())] for part in nested(message)]
    chosen = site.emitter.known(blobs[message.input[0]])
    if chosen is not None and chosen.size == 1:
        # The network that never runs may be one that cannot: coremltools writes such for lists of a fixed length.
        way = 0 if chosen.item() else 1
        return _run(networks[way], blobs, site.within(f"{message.name}/{('then', 'else')[way]}"))
    scopes: list[Blobs] = [dict(blobs), dict(blobs)]
    sites = [site.inside(f"{message.name}/{part}") for part in ("then", "else")]
    going = [_run(layers, scope, inner) for layers, scope, inner in zip(networks, scopes, sites, strict=True)]
    names = [name for name in _written(itertools.chain(*networks)) if all(name in scope for scope in scopes)]
    results = [[scope[name] for name in names] for scope in scopes]
    if rest is not None:
        for values, go, inner in zip(results, going, sites, strict=True):
            values.append(go if isinstance(go, ir.Value) else inner.emitter.const(go, "bool"))
    if not results[0]:
        return True
    graphs = [
        _graph(inner, values, f"{inner.path.rpartition('/')[2]}_branch")
        for inner, values in zip(sites, results, strict=True)
    ]
    made = site.emitter.ops(
        "If", _scalar(site.emitter, blobs[message.input[0]]), outputs=len(results[0]), then_branch=graphs[0],
        else_branch=graphs[1],
    )  # fmt: skip
    for value, one, other in zip(made, *results, strict=True):
        set_type(value, "float32", _common(one, other))
    blobs.update(zip(names, made[: len(names)], strict=True))
    return set_type(made[-1], "bool", []) if rest is not None else True


def _loop(message: Any, blobs: Blobs, site: _Site) -> None:
    """The body runs a number of times, or as long as the condition is not 0, or both."""
    parameters, emit = message.loop, site.emitter
    condition, body = (list(part.layers) for part in nested(message))
    count = None
    if message.input:
        count = _scalar(emit, integers(emit, blobs[message.input[0]]), ir.DataType.INT64)
    elif parameters.maxLoopIterations:
        count = emit.const(int(parameters.maxLoopIterations), "int64")
    if count is None and not condition:
        raise ModelError("the loop has neither a condition nor a number of iterations.")
    first = None
    if condition:
        first = _condition(parameters.conditionVar, condition, blobs, site)
    names = [name for name in _written([*condition, *body]) if name in blobs]
    shapes = {name: dims_of(blobs[name]) for name in names}
    while True:  # until the shapes hold for every iteration
        inner = site.inside(f"{message.name}/body")
        iteration = inner.emitter.input(f"{inner.path}/iteration", "int64", [])
        before = inner.emitter.input(f"{inner.path}/condition", "bool", [])
        own = {**blobs, **{
            name: inner.emitter.input(f"{inner.path}/in/{name}", "float32", shapes[name]) for name in names
        }}  # fmt: skip
        starts = dict(own)
        with inner.emitter.layer([site.layer], hint=inner.path):
            if any(map(_draws, [*condition, *body])):
                inner.turn = turn_of(inner.emitter, iteration, site.turn)
            go = _going_on(parameters.conditionVar, condition, body, own, inner, before)
            wider = {name: _common(starts[name], own[name]) for name in names}
            if all(_same(wider[name], shapes[name]) for name in names):
                graph = _graph(inner, [go, *(own[name] for name in names)], "body")
                break
        shapes = {name: None if dims is None else tuple(dims) for name, dims in wider.items()}
    made = emit.ops("Loop", count, first, *(blobs[name] for name in names), outputs=len(names), body=graph)
    for name, value in zip(names, made, strict=True):
        blobs[name] = set_type(value, "float32", shapes[name])


def _same(one: Sequence[Any] | None, other: Sequence[Any] | None) -> bool:
    return one is None and other is None if one is None or other is None else list(one) == list(other)


def _condition(name: str, messages: Sequence[Any], blobs: Blobs, site: _Site) -> ir.Value:
    _run(messages, blobs, site)
    if name not in blobs:
        raise ModelError(f"the condition of the loop does not make {name!r}.")
    return _scalar(site.emitter, blobs[name])


def _going_on(
    name: str, condition: Sequence[Any], body: Sequence[Any], blobs: Blobs, site: _Site, before: ir.Value
) -> ir.Value:
    """Lower the body, then the condition; whether there is another iteration."""
    go = _run(body, blobs, site)
    found = before if go is True else go if isinstance(go, ir.Value) else site.emitter.const(go, "bool")
    if not condition:
        return found
    overwritten = [name for name in _written(condition) if name in blobs]
    if go is not True and overwritten:
        return _asked_if(found, name, condition, blobs, site, overwritten)
    following = _condition(name, condition, blobs, site)
    return following if go is True else site.emitter.op("And", found, following)


def _asked_if(
    going: ir.Value, name: str, condition: Sequence[Any], blobs: Blobs, site: _Site, overwritten: Sequence[str]
) -> ir.Value:
    """Lower a condition that overwrites blobs: it runs only where the body has not left the loop."""
    sites = [site.inside(f"condition/{part}") for part in ("then", "else")]
    scope = dict(blobs)
    with sites[0].emitter.layer([site.layer], hint=sites[0].path):
        following = _condition(name, condition, scope, sites[0])
    results = [
        [following, *(scope[blob] for blob in overwritten)],
        [sites[1].emitter.const(False), *(blobs[blob] for blob in overwritten)],
    ]
    graphs = [
        _graph(inner, values, f"{part}_branch")
        for inner, values, part in zip(sites, results, ("then", "else"), strict=True)
    ]
    go, *made = site.emitter.ops(
        "If", going, outputs=1 + len(overwritten), then_branch=graphs[0], else_branch=graphs[1]
    )  # fmt: skip
    for blob, value, one, other in zip(overwritten, made, results[0][1:], results[1][1:], strict=True):
        blobs[blob] = set_type(value, "float32", _common(one, other))
    return set_type(go, "bool", [])


def _outermost(layer: NetworkLayer, emit: Emitter) -> tuple[Blobs, _Site]:
    prefix, _, _ = layer.name.rpartition("/")
    return dict(layer.scope), _Site(layer.name, prefix, emit)


def _visible(layer: NetworkLayer, blobs: Mapping[str, ir.Value]) -> list[ir.Value]:
    missing = [name for name in layer.writes if name not in blobs]
    if missing:
        raise Refused(f"{missing[0]!r}, which is read behind it, is not made before it and not by every way through it")
    return [blobs[name] for name in layer.writes]


@network.lowers("branch")
def branch(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """``ifBranch`` where the input is not 0, else ``elseBranch``; outputs: the blobs that they write."""
    blobs, site = _outermost(layer, emit)
    layer.ignore("ifBranch", "elseBranch")  # read through the message
    _branch(layer.message, blobs, site, None)
    return _visible(layer, blobs)


@network.lowers("loop")
def loop(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """``bodyNetwork`` as often as the input or ``maxLoopIterations`` says, while ``conditionNetwork`` says so."""
    blobs, site = _outermost(layer, emit)
    layer.ignore("maxLoopIterations", "conditionVar", "conditionNetwork", "bodyNetwork")  # read through the message
    _loop(layer.message, blobs, site)
    return _visible(layer, blobs)


@network.lowers(*_JUMPS)
def jump(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Inside the body of a loop: leave the loop, or its iteration. The body's other layers are lowered around it."""
    raise ModelError("the layer is not inside the body of a loop.")
