"""Signal processing."""

from __future__ import annotations

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("DFT", to=20)
def dft_20(site: Site) -> None:
    """``axis`` becomes an input; its default was 1 and is -2 now, so it is always stated."""
    site.set_input(2, site.constant(site.take_int("axis", 1), "axis"))
