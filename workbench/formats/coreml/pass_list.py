"""The passes of coremltools that a lowered program goes through, and which of them can be left out.

Chosen are those that keep the meaning of a tensor together with its name: every fusion names its result after the
tensor that it computes. Not among them are passes that change a layout under its name (``reduce_transposes``,
``compose_conv1d``), that trade a division for a less exact product (``divide_to_multiply``) or a product and a sum for
a batch norm, whose epsilon then changes the result by 5·10⁻⁶ (``fuse_elementwise_to_batchnorm``), and all that our
lowerings give nothing to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from workbench.errors import OptionError

DEDUPLICATION = "common::const_deduplication"
FUSIONS = (
    "common::noop_elimination",
    "common::const_elimination",
    "common::fuse_matmul_weight_bias",
    "common::const_elimination",  # again: it has transposed weights
    "common::dead_code_elimination",
    "common::fuse_linear_bias",
    "common::fuse_gelu_tanh_approximation",
    "common::fuse_gelu_exact",
    "common::fuse_leaky_relu",
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_reduce_mean",
    "common::fuse_conv_batchnorm",
    "common::fuse_conv_scale",  # again: a batch norm in between is gone now
    "common::fuse_conv_bias",
    "common::fuse_conv_batchnorm",
    "common::fuse_prelu",
    "common::prelu_to_lrelu",
    "common::merge_consecutive_relus",
    "common::merge_consecutive_reshapes",
    "common::merge_consecutive_transposes",
    "common::remove_redundant_ops",
)
AFTER_FLOAT16 = (
    "common::const_elimination",
    "common::dead_code_elimination",
    "common::cast_optimization",  # cancels the casts that stand between two operations in float16
    "common::dead_code_elimination",
)
CLOSING = (
    "mil_backend::fuse_activation_silu",
    "common::const_elimination",
    DEDUPLICATION,
    "common::dead_code_elimination",
    "common::topological_reorder",
    "nn_backend::handle_unused_inputs",
)


def short(name: str) -> str:
    """A pass's name without its namespace."""
    return name.partition("::")[2]


_NEEDED = frozenset(map(short, (*AFTER_FLOAT16, "common::topological_reorder", "nn_backend::handle_unused_inputs")))
"""Passes without which a program is not in the form that is written."""

OPTIMISATIONS = tuple(dict.fromkeys(name for name in map(short, (*FUSIONS, *CLOSING)) if name not in _NEEDED))
"""The names of the passes that can be left out, in the order in which they run first."""


def left_out(given: str | Sequence[str]) -> frozenset[str]:
    """The optimisations that the option ``passes`` does not want.

    Args:
        given: ``"all"``, ``"none"``, or names, a sequence or a text with commas: those to run, or, each with a ``-``
            before it, those not to run.

    Raises:
        OptionError: a name that is not known, or names of both kinds.
    """
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    if not all(isinstance(name, str) for name in names):
        raise OptionError(f"passes takes names of passes, not {given!r}.")
    names = [name for name in names if name]
    if names == ["all"]:
        return frozenset()
    if names in ([], ["none"]):
        return frozenset(OPTIMISATIONS)
    plain = [_known(name) for name in names]
    unwanted = {name.startswith("-") for name in names}
    if len(unwanted) > 1:
        raise OptionError(f"passes: name those to run, or those to leave out, each with a '-' before it: {names}.")
    return frozenset(plain) if unwanted == {True} else frozenset(OPTIMISATIONS) - set(plain)


def _known(name: str) -> str:
    plain = str(name).removeprefix("-")
    if plain in OPTIMISATIONS:
        return plain
    if plain in _NEEDED:
        raise OptionError(f"passes: {plain!r} always runs: without it the program could not be written.")
    near = difflib.get_close_matches(plain, OPTIMISATIONS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(OPTIMISATIONS)}."
    raise OptionError(f"passes: {plain!r} is no optimisation that is run.{hint}")
