"""A JupyterLab server of the tests' own: on loopback, with configuration that no user's settings reach."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import launch

RUN_ON_OPENING = "run_on_opening.ipynb"

# What a browser sees must not depend on the network, and no dialog may stand in the way of a click.
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension:plugin": {"renameUntitledFileOnSave": False, "autosave": False},
}

_FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}


@dataclass(frozen=True)
class LabServer:
    """A running server: its address, the folder it serves and the folder where it keeps what users set."""

    url: str
    root: Path
    settings: Path

    def _request(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            body = response.read()
        return json.loads(body) if body else None

    def reset(self) -> None:
        """Shut down every kernel and forget what a test set (a theme, say): the next one starts as the first did."""
        shutil.rmtree(self.settings, ignore_errors=True)
        for session in self._request("sessions"):
            self._request(f"sessions/{session['id']}", "DELETE")
        for kernel in self._request("kernels"):
            self._request(f"kernels/{kernel['id']}", "DELETE")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(private: Path) -> dict[str, str]:
    return {**os.environ, **{name: str(private / folder) for name, folder in _FOLDERS.items()}}


def _command(port: int, root: Path, overrides: Path) -> list[str]:
    """What `workbench lab` starts on the notebook RUN_ON_OPENING, with the tests' settings on top."""
    return [
        *launch.command(root, RUN_ON_OPENING, browser=False, port=port),
        # No secret is needed on a port that only this machine reaches and that lives for a test run; and the
        # clean-up requests come without a browser's cookie.
        *("--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"),
        *("--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True"),
        f"--LabServerApp.app_settings_dir={overrides}",
    ]


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            urllib.request.urlopen(f"{url}/api/status", timeout=2).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise RuntimeError(f"JupyterLab did not start:\n{tail}") from error
            time.sleep(0.2)


@contextlib.contextmanager
def lab_server(root: Path, private: Path, timeout: float = 90) -> Iterator[LabServer]:
    """Serve `root` by a JupyterLab whose configuration, settings and log are in the folder `private`.

    Raises
    ------
    RuntimeError
        The server ended or did not answer within `timeout` seconds; the end of its log is in the message.
    """
    overrides = private / "app_settings"
    overrides.mkdir(parents=True)
    (overrides / "overrides.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
    port = _free_port()
    server = LabServer(f"http://127.0.0.1:{port}", root, private / _FOLDERS["JUPYTERLAB_SETTINGS_DIR"])
    log = private / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            _command(port, root, overrides),
            env=_environment(private),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C meant for pytest must not take the server away before its kernels
        )
        try:
            _wait_until_up(process, server.url, log, timeout)
            yield server
        finally:
            with contextlib.suppress(OSError):
                server.reset()
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
