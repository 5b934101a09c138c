"""Write Binder's badge into README.md, for the address in ``[project.urls]`` of pyproject.toml.

The address of the repository is said there and nowhere else: ``Repository = "https://github.com/OWNER/NAME"``, also of
GitLab, or of any other server of git. Without one the README has no badge. ``make docs`` runs this.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]  # comes with pytest there

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- Binder's badge: written by scripts/badge.py -->", "<!-- end of the badge -->"
FIRST = "notebooks/01_first_conversion.ipynb"
URLPATH = f"lab/tree/{FIRST}"
"""What the badge opens: ``…?urlpath=lab/tree/notebooks/…``."""

_SERVER = "https://mybinder.org"
_KNOWN = {"github.com": "gh", "gitlab.com": "gl"}
NONE = "<!-- there is none until `Repository` in pyproject's `[project.urls]` says where the repository is -->"


def address(project: Path = ROOT / "pyproject.toml") -> str | None:
    """The repository's address in a pyproject.toml, if it has one."""
    with project.open("rb") as stream:
        urls = tomllib.load(stream)["project"].get("urls", {})
    found = urls.get("Repository")
    return None if found is None else str(found)


def launch(repository: str, ref: str = "HEAD") -> str:
    """The page that builds the repository and opens the first tutorial.

    Raises
    ------
    SystemExit
        It is no address of a repository on the web.
    """
    parts = urlsplit(repository)
    path = parts.path.strip("/").removesuffix(".git")
    if parts.scheme != "https" or not parts.hostname or "/" not in path:
        sys.exit(f"pyproject.toml, project.urls.Repository: {repository!r} is not like https://github.com/OWNER/NAME")
    provider = _KNOWN.get(parts.hostname)
    if provider == "gh":
        place = f"gh/{path}"
    elif provider == "gl":
        place = f"gl/{quote(path, safe='')}"
    else:
        place = f"git/{quote(repository, safe='')}"
    return f"{_SERVER}/v2/{place}/{ref}?urlpath={quote(URLPATH)}"


def block(repository: str | None) -> str:
    """What stands between the marks, them included."""
    text = NONE if repository is None else f"[![Open in Binder]({_SERVER}/badge_logo.svg)]({launch(repository)})"
    return f"{BEGIN}\n{text}\n{END}"


def written(readme: str, repository: str | None) -> str:
    """The README with its badge.

    Raises
    ------
    SystemExit
        The marks are not in it.
    """
    text, count = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block(repository), readme, flags=re.DOTALL
    )
    if count != 1:
        sys.exit(f"README.md has {count} places for the badge: one is needed, between {BEGIN} and {END}")
    return text


def main() -> int:
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8"), address()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
