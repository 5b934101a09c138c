"""Pooling with an Lp norm: ``p`` was a float once."""

from __future__ import annotations

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("GlobalLpPool", to=2)
def global_lp_pool_2(site: Site) -> None:
    _integral_p(site)


@step("LpPool", to=2)
def lp_pool_2(site: Site) -> None:
    if not site.has("kernel_shape"):
        site.refuse("LpPool-1 without 'kernel_shape' has no defined window")
    _integral_p(site)


def _integral_p(site: Site) -> None:
    p = site.take_float("p")
    if p is None:
        return
    if not p.is_integer():
        site.refuse(f"p is {p:g}, newer versions take whole numbers only")
    site.set(p=int(p))
