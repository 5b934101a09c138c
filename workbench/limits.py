"""Limits that keep a hostile or broken file from exhausting the machine. Each refusal names its limit.

Changed for the whole process with :func:`change`, for a block with :func:`changed`, from outside with the environment
variable ``WORKBENCH_LIMITS=nodes=400000,run_seconds=60``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from workbench.errors import LimitError, OptionError

VARIABLE = "WORKBENCH_LIMITS"


def machine_memory() -> int:
    """Bytes of memory that this process may count on: the machine's, or its container's where that is less."""
    found = [4 << 30]  # where nothing can be asked
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # of another version of cgroups, or "max"
            found.append(int(Path(name).read_text()))
    return min(found)


@dataclass(frozen=True)
class Limits:
    """Upper bounds, checked before anything is parsed, expanded, allocated or run.

    Attributes:
        file_bytes: of one file.
        text_bytes: of one file of text, which is held and taken apart as a whole.
        nesting: of brackets, subgraphs, functions, messages in one another.
        nodes: operations, after functions and fragments are expanded.
        tensor_elements: of one tensor that a file declares.
        folded_elements: of one constant that is computed when converting.
        archive_bytes: what an archive unpacks to.
        archive_members: files in an archive.
        memory_bytes: by how much one piece of native work (a run, say) may let the process grow; three quarters of the
            machine's memory. Kept on Linux; other systems do not offer such a bound.
        run_seconds: for one run of a model, or for making it ready.
    """

    file_bytes: int = 16 << 30
    text_bytes: int = 64 << 20
    nesting: int = 200
    nodes: int = 200_000
    tensor_elements: int = 1 << 31
    folded_elements: int = 1 << 26
    archive_bytes: int = 16 << 30
    archive_members: int = 100_000
    memory_bytes: int = field(default_factory=lambda: machine_memory() * 3 // 4)
    run_seconds: int = 600


def change(**values: int) -> Limits:
    """Set limits for the whole process, by name; returns those that held before.

    Raises:
        OptionError: there is no such limit, or the value is no positive number; the message lists the limits.
    """
    global current
    names = [entry.name for entry in fields(Limits)]
    for name, value in values.items():
        if name not in names:
            raise OptionError(f"unknown limit {name!r}; there are {', '.join(names)}.")
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise OptionError(f"the limit {name} is a positive number, not {value!r}.")
    before = current
    current = replace(current, **values)
    return before


@contextlib.contextmanager
def changed(**values: int) -> Iterator[Limits]:
    """Set limits for a block, in all threads; see :func:`change`."""
    global current
    before = change(**values)
    try:
        yield current
    finally:
        current = before


def parse(text: str) -> dict[str, int]:
    """Limits by name, from ``nodes=400000,run_seconds=60``.

    Raises:
        OptionError: it does not have this form.
    """
    found = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        try:
            found[name.strip()] = int(value.replace("_", ""))
        except ValueError as error:
            raise OptionError(f"a limit is written NAME=NUMBER, not {item!r}.") from error
    return found


def check(limit: str, value: int, where: str) -> None:
    """Raise :class:`LimitError` if ``value`` is beyond the limit of that name.

    ``where`` says what was measured, for the message.
    """
    bound = getattr(current, limit)
    if value > bound:
        raise LimitError(f"{where}: {value:,} is beyond the limit {limit} = {bound:,}; {way_out(limit)}.")


def way_out(limit: str) -> str:
    """What a refusal says of how the limit is raised."""
    return f"if the file is trusted, raise it: workbench.limits.change({limit}=…), or {VARIABLE}={limit}=…"


# -- memory -----------------------------------------------------------------------------------------------------------

_LOCK = threading.Lock()
_INSIDE: dict[object, int] = {}
"""For each block of :func:`bounded_memory` that runs, in any thread, the bound of the process before the first."""


@contextlib.contextmanager
def bounded_memory(what: str) -> Iterator[None]:
    """Let the process grow by no more than ``memory_bytes`` within the block; what wants more gets no memory.

    The bound is that of the address space (``RLIMIT_AS``), so it holds for native code too, and is that of the whole
    process: other threads share it. Where the system has no such bound (macOS, Windows) only Python's own
    ``MemoryError`` is translated.

    Raises:
        LimitError: memory was refused; ``what`` ("reading a.onnx") begins the message.
    """
    block = object()
    try:
        _lower(block)
        yield
    except MemoryError as error:
        raise out_of_memory(what) from error
    finally:
        interrupted = None
        while block in _INSIDE:
            try:
                _restore(block)
            except KeyboardInterrupt as error:  # not before the bound is as it was
                interrupted = error
        if interrupted is not None:
            raise interrupted


def out_of_memory(what: str) -> LimitError:
    """The error of :func:`bounded_memory`."""
    bound = current.memory_bytes
    return LimitError(
        f"{what} takes more memory than the limit memory_bytes = {bound:,}, or than there is; "
        f"{way_out('memory_bytes')}."
    )


if sys.platform == "linux":
    import resource

    def _lower(block: object) -> None:
        with _LOCK:
            before, most = resource.getrlimit(resource.RLIMIT_AS)
            _INSIDE[block] = next(iter(_INSIDE.values()), before)
            if len(_INSIDE) > 1:  # the first one's bound holds
                return
            bound = _address_space() + current.memory_bytes
            limited = [value for value in (bound, before, most) if value != resource.RLIM_INFINITY]
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_AS, (min(limited), most))

    def _restore(block: object) -> None:
        with _LOCK:
            if len(_INSIDE) == 1:
                with contextlib.suppress(ValueError, OSError):
                    most = resource.getrlimit(resource.RLIMIT_AS)[1]
                    resource.setrlimit(resource.RLIMIT_AS, (_INSIDE[block], most))
            del _INSIDE[block]

    def memory_is_short() -> bool:
        """Whether less than an eighth is left of what :func:`bounded_memory` allows (that of the first block)."""
        bound = resource.getrlimit(resource.RLIMIT_AS)[0]
        if not _INSIDE or bound == resource.RLIM_INFINITY:
            return False
        return bound - _address_space() < current.memory_bytes // 8

    def _address_space() -> int:
        """Bytes of address space of this process (man 5 proc, ``statm``)."""
        return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()

else:

    def _lower(block: object) -> None:
        return

    def _restore(block: object) -> None:
        return

    def memory_is_short() -> bool:
        """Whether memory is nearly used up: there is no bound on this system."""
        return False


def _from_environment(environment: Mapping[str, str]) -> Limits:
    """The limits to begin with. What is wrong in the variable is an error at once, not a limit that does not hold."""
    defaults = Limits()
    values = parse(environment.get(VARIABLE, ""))
    unknown = [name for name in values if not hasattr(defaults, name)]
    if unknown:
        names = ", ".join(entry.name for entry in fields(Limits))
        raise OptionError(f"{VARIABLE}: unknown limit {unknown[0]!r}; there are {names}.")
    return replace(defaults, **values)


current = _from_environment(os.environ)
