"""Memory that the sessions of one piece of work share: what one has freed the next one takes.

A comparison makes many sessions that live for a few runs. Were each to take its memory from the system and give it
back, the clearing of fresh pages would cost as much as the operators that fill them, and what lies freed in between, in
the heaps of several threads, would add up. onnxruntime has one such pool for the process; sessions use it that ask for
it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

_AS_REQUESTED = 1  # the pool grows by what is asked for, not by powers of two
_lock = threading.Lock()
_users = 0
_used = False


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Around the work: at its end, what the pool has free goes back to the system."""
    global _users, _used
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            last, used = not _users, _used
            _used = _used and not last
        if last and used:
            _give_back()


def is_open() -> bool:
    """Whether some work shares memory at present."""
    return _users > 0


def use(options: onnxruntime.SessionOptions) -> None:
    """Let a session that is made with these options take its memory from the pool; within :func:`shared` only."""
    global _used
    if is_open() and _is_there():
        _used = True
        options.enable_cpu_mem_arena = True
        options.add_session_config_entry("session.use_env_allocators", "1")


@functools.cache
def _is_there() -> bool:
    """Make the pool; ``False`` where onnxruntime has other plans for the process."""
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    growth = onnxruntime.OrtArenaCfg(
        {
            "max_mem": 0,
            "arena_extend_strategy": _AS_REQUESTED,
            "initial_chunk_size_bytes": -1,
            "max_dead_bytes_per_chunk": -1,
        }
    )
    try:
        onnxruntime.create_and_register_allocator(place, growth)
    except Exception:  # somebody has registered one: it is his, and may be of any kind
        return False
    return True


def _give_back() -> None:
    """Only a run can be told to do that, at its end."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with contextlib.suppress(Exception):  # it is a courtesy: the work is done
        _sweeper().run(None, {"x": np.zeros(1, np.float32)}, options)


@functools.cache
def _sweeper() -> onnxruntime.InferenceSession:
    import onnx
    import onnxruntime

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "sweep", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
