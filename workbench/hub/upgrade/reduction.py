"""Reductions: ``axes`` became an input, for ReduceSum with 13, for the others with 18."""

from __future__ import annotations

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("ReduceSum", to=13)
def reduce_sum_13(site: Site) -> None:
    _axes_to_input(site)


@step(
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSumSquare"),
    to=18,
)
def reduce_18(site: Site) -> None:
    _axes_to_input(site)


def _axes_to_input(site: Site) -> None:
    """No axes, like an empty list of them, meant all: so it still does, as ``noop_with_empty_axes`` is 0 by default."""
    axes = site.take_ints("axes")
    if axes:
        site.set_input(1, site.constant(axes, "axes"))
