"""A report as a stand-alone HTML page: profile, table and tensors, linked by one selected row."""

from workbench.compare.page.document import page

__all__ = ["page"]
