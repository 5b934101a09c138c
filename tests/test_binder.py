"""What Binder builds is exact and enough; ``make binder`` builds and opens it, this looks without building."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
NOT_ON_BINDER = {"torch"}  # gigabytes; its tutorial says so
PROJECT = {"workbench"}
UNIX = pytest.mark.skipif(os.name == "nt", reason="Binder's images are Linux; this asks bash and file modes")


@cache
def script(name: str = "binder") -> ModuleType:
    """A module of ``scripts/``, which is no package; its modules find one another as they do when they are run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module(name)


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]


def pins() -> dict[str, str]:
    """Distribution → version; a line that is no exact pin has none."""
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines(BINDER / "requirements.txt")]
    assert all(found), "every requirement is an exact version"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return dict(tomllib.load(stream)["project"])


def python() -> str:
    return (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def needed() -> list[Requirement]:
    """The project's dependencies on Binder's Python."""
    requirements = map(Requirement, project()["dependencies"])
    there = {"python_version": python(), "sys_platform": "linux"}
    return [each for each in requirements if each.marker is None or each.marker.evaluate(there)]


@pytest.mark.parametrize("requirement", needed(), ids=lambda requirement: requirement.name)
def test_every_dependency_has_an_exact_version_that_the_project_allows(requirement: Requirement) -> None:
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


@pytest.mark.parametrize("name", ["jupyterlab", "ipykernel", "notebook"])
def test_what_the_image_has_already_is_pinned_too(name: str) -> None:
    """repo2docker's own are older, and its notebook forbids a newer JupyterLab: `pip check` would fail the image."""
    assert name in pins()


def test_its_python_is_one_that_the_project_runs_on() -> None:
    assert SpecifierSet(project()["requires-python"]).contains(f"{python()}.0")


@cache
def installed() -> dict[str, list[str]]:
    """Top-level module → the distributions that bring it."""
    return dict(packages_distributions())


def imported(path: Path) -> set[str]:
    """Top-level modules that the code cells import."""
    notebook: Any = nbformat.read(path, as_version=4)
    found = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Import):
                    found.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_what_a_tutorial_imports_is_installed(path: Path) -> None:
    distributions = installed()
    for module in imported(path) - set(sys.stdlib_module_names) - NOT_ON_BINDER - PROJECT:
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & set(pins()), f"{module}: add {sorted(names)} to binder/requirements.txt"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_the_models_of_a_tutorial_are_installed(path: Path) -> None:
    sources = " ".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    models = {canonicalize_name(Requirement(line).name) for line in lines(ROOT / "tests/requirements-models.txt")}
    distributions = installed()
    for package in re.findall(r'find_spec\("(\w+)"\)', sources):
        assert package in distributions, f"{package} is not installed here (tests/requirements-models.txt)"
        assert {canonicalize_name(name) for name in distributions[package]} & models


def test_the_badge_opens_a_tutorial_that_is_there() -> None:
    found = script()
    assert (ROOT / found.FIRST).exists()
    assert found.URLPATH.endswith(found.FIRST)


def test_the_readme_has_the_badge_of_the_address_in_the_project() -> None:
    badge = script("badge")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert badge.written(readme, badge.address()) == readme, "run make docs"


@pytest.mark.parametrize(
    ("repository", "place"),
    [
        ("https://github.com/some/name", "gh/some/name"),
        ("https://github.com/some/name.git", "gh/some/name"),
        ("https://gitlab.com/group/sub/name", "gl/group%2Fsub%2Fname"),
        ("https://git.example.org/some/name.git", "git/https%3A%2F%2Fgit.example.org%2Fsome%2Fname.git"),
    ],
)
def test_the_badge_follows_the_address(repository: str, place: str, tmp_path: Path) -> None:
    badge = script("badge")
    project = tmp_path / "pyproject.toml"
    project.write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{repository}"\n', encoding="utf-8")
    text = badge.written(f"before\n{badge.BEGIN}\nold\n{badge.END}\nafter\n", badge.address(project))
    opened = f"https://mybinder.org/v2/{place}/HEAD?urlpath=lab/tree/{badge.FIRST}"
    assert text == (
        f"before\n{badge.BEGIN}\n[![Open in Binder](https://mybinder.org/badge_logo.svg)]({opened})\n{badge.END}\nafter\n"
    )


@pytest.mark.parametrize(
    "repository", ["git@github.com:some/name", "http://github.com/some/name", "https://github.com/"]
)
def test_what_is_no_address_of_a_repository_is_refused(repository: str) -> None:
    with pytest.raises(SystemExit, match="is not like https"):
        script("badge").block(repository)


@UNIX
def test_post_build_runs_and_checks_itself() -> None:
    path = BINDER / "postBuild"
    text = path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK), "repo2docker runs it only if it is executable"
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert "pip check" in text
    assert "jupyter labextension list" in text
    subprocess.run(["bash", "-n", str(path)], check=True)
    for name in re.findall(r"-r (\S+)", text):
        assert (ROOT / name).exists(), name


@UNIX
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_clone_has_what_git_would_have_and_nothing_ignored(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    subprocess.run(["git", "init", "--quiet", str(source)], check=True)
    (source / ".gitignore").write_text("built/\n")
    for name in ("known.txt", "new/file.txt", "built/large.bin", "gone.txt"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    subprocess.run(["git", "-C", str(source), "add", "known.txt", "gone.txt"], check=True)
    (source / "gone.txt").unlink()
    script().clone(source, copy)
    found = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file())
    assert found == [".gitignore", "known.txt", "new/file.txt"]


def test_the_image_has_a_home_and_a_path_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "elsewhere")
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    env = script().environment(tmp_path / "home", tmp_path / "venv")
    assert env["HOME"] == str(tmp_path / "home")
    assert env["PATH"].startswith(str(tmp_path / "venv"))
    assert env["PIP_TIMEOUT"] == "7", "where packages come from is the machine's affair"
    assert not {"PYTHONPATH", "JUPYTER_CONFIG_DIR"} & set(env)


@pytest.mark.parametrize("step", ["fails", "works"])
def test_a_step_that_fails_says_what_it_said(step: str, tmp_path: Path) -> None:
    code = "print('the reason'); raise SystemExit(3)" if step == "fails" else "print('fine')"
    command = [sys.executable, "-c", code]
    if step == "works":
        script().step("a step", command, dict(os.environ), tmp_path)
    else:
        with pytest.raises(SystemExit, match="a step: failed\nthe reason"):
            script().step("a step", command, dict(os.environ), tmp_path)
