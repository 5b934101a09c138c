"""Sphinx's settings; ``scripts/docs.py`` puts the sources together and runs it."""

import re
from typing import Any

from workbench import __version__

project = "exchange-workbench"
author = "The exchange-workbench authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = "exchange-workbench"
html_static_path = ["_static"]
html_css_files = ["figures.css"]
html_copy_source = False
html_theme_options = {"light_css_variables": {"color-brand-primary": "#1f6fb4", "color-brand-content": "#1f6fb4"}}

myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # attributes of dataclasses are described once, in the class
napoleon_use_rtype = False

_LITERAL = re.compile(r"(``.*?``)")


def escape_bars(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Let ``|x - y|`` be what it says in a formula, and no reference."""
    for index, line in enumerate(lines):
        parts = _LITERAL.split(line)
        lines[index] = "".join(part if part.startswith("``") else part.replace("|", "\\|") for part in parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", escape_bars)
