"""The only door to coremltools: imported late, kept quiet, and entered by one thread at a time.

Off Apple, coremltools complains on stderr while it is imported (native libraries that exist only on macOS, versions of
torch and scikit-learn that it has not tried), warns while it converts, and keeps the state of its program builder in
module variables. :func:`session` holds all of that together; everything that builds or transforms a program runs in it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from workbench.hub.quiet import quiet

_LOCK = threading.RLock()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Hold coremltools alone and quiet; on leaving, even by an exception, its builder is as it was found.

    The builder numbers its names from module variables, so a program built in a session of its own is named the same
    every time.
    """
    with _LOCK, _quiet(), _clean_builder(), _remembered_types(), _uncollected():
        yield


@contextlib.contextmanager
def all_replaceable() -> Iterator[None]:
    """Spare a program without ``constexpr_*`` operations the search for values that depend on one.

    coremltools goes through the whole program for it each time that a pass is done with a block. Use it inside a
    :func:`session`.
    """
    block = submodule("converters.mil.mil.block").Block
    found = block._propagate_nonreplaceable_vars
    block._propagate_nonreplaceable_vars = lambda self: None
    try:
        yield
    finally:
        block._propagate_nonreplaceable_vars = found


@functools.lru_cache(maxsize=1)
def coremltools() -> Any:
    """The module ``coremltools``, imported at the first call without a word on stderr."""
    with _LOCK, _quiet():
        return import_module("coremltools")


@functools.lru_cache(maxsize=1)
def model_pb2() -> Any:
    """``coremltools.proto.Model_pb2``: the messages of a model file."""
    coremltools()
    return import_module("coremltools.proto.Model_pb2")


def decode_error() -> type[Exception]:
    """What protobuf raises where bytes are no message (its package has no type information)."""
    found: type[Exception] = import_module("google.protobuf.message").DecodeError
    return found


@functools.lru_cache(maxsize=1)
def mil_pb2() -> Any:
    """``coremltools.proto.MIL_pb2``: the messages of an ML program."""
    coremltools()
    return import_module("coremltools.proto.MIL_pb2")


@functools.lru_cache(maxsize=1)
def mil() -> Any:
    """``coremltools.converters.mil.mil``: ``Builder``, ``Function``, ``Program``, ``types``, ``Var``."""
    coremltools()
    return import_module("coremltools.converters.mil.mil")


@functools.cache
def submodule(name: str) -> Any:
    """The module ``coremltools.<name>``."""
    coremltools()
    with _LOCK, _quiet():
        return import_module(f"coremltools.{name}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Contain coremltools' log records below ERROR, and Python warnings; call with the lock held."""
    with quiet("coremltools", logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _remembered_types() -> Iterator[None]:
    """Describe each of the builder's types once: it asks for a description whenever it looks at a value."""
    places = [submodule(f"converters.mil.mil.types.{name}") for name in ("type_mapping", "type_tensor", "type_list")]
    described = places[0].get_type_info
    known: dict[Any, Any] = {}

    def remembered(kind: Any) -> Any:
        try:
            if kind not in known:
                known[kind] = described(kind)
            return known[kind]
        except TypeError:  # what cannot be hashed, or is no type: the builder asks what things are
            return described(kind)

    for place in places:
        place.get_type_info = remembered
    try:
        yield
    finally:
        for place in places:
            place.get_type_info = described


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector from going through all that the builder makes, again and again: it is no garbage yet."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _clean_builder() -> Iterator[None]:
    """Start the builder's counters and stacks empty, and put back what was there (a session may be inside another)."""
    coremltools()
    builder: Any = sys.modules["coremltools.converters.mil.mil.builder"]
    block: Any = sys.modules["coremltools.converters.mil.mil.block"]
    scope: Any = sys.modules["coremltools.converters.mil.mil.scope"]
    found = (
        dict(builder.Builder.name_count),
        list(block.BLOCK_STACK),
        {source: list(infos) for source, infos in scope.SCOPE_STACK.items()},
        list(scope.VALID_OPS_TO_COPY_SCOPE_INFO),
        list(builder._BEFORE_OP_STACK),
    )
    for container in (builder.Builder.name_count, scope.SCOPE_STACK):
        container.clear()
    for stack in (scope.VALID_OPS_TO_COPY_SCOPE_INFO, builder._BEFORE_OP_STACK):
        stack.clear()
    block.BLOCK_STACK = []
    try:
        yield
    finally:
        for container, content in ((builder.Builder.name_count, found[0]), (scope.SCOPE_STACK, found[2])):
            container.clear()
            container.update(content)
        block.BLOCK_STACK = found[1]
        scope.VALID_OPS_TO_COPY_SCOPE_INFO[:] = found[3]
        builder._BEFORE_OP_STACK[:] = found[4]
