"""One row as a folder that shows its difference without the workbench: to keep, or to attach to a bug report."""

from workbench.compare.repro.folder import MARK, write_repro

__all__ = ["MARK", "write_repro"]
