"""Build what Binder builds, and open it, without docker.

``binder.py`` takes the steps of repo2docker (https://repo2docker.readthedocs.io): a clone, a fresh environment with
what its images bring, a home of its own, ``binder/requirements.txt``, ``binder/postBuild``; then it starts the server,
asks for the page that the badge opens, and runs the first tutorial. With ``--all`` it runs every tutorial and says what
time and memory each takes. It needs the Python of ``binder/runtime.txt`` and a package index; it takes minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from badge import FIRST, URLPATH  # type: ignore[import-not-found]  # beside this file

ROOT = Path(__file__).parent.parent
# What repo2docker's own environment has before anything of ours is installed. Its lock files are renewed seldom, so
# these are older than our pins, and the upgrade has to leave an environment that fits together.
BASE = (
    "ipywidgets==8.*",
    "jupyter-offlinenotebook==0.3.*",
    "jupyter-resource-usage==1.*",
    "jupyterhub==5.*",
    "jupyterlab==4.4.*",
    "notebook==7.4.*",
)
SECONDS, MEGABYTES = 90, 600
"""What a tutorial may take on Binder."""

_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_PREFIXES = ("PIP_", "NPM_CONFIG_", "HTTP_", "HTTPS_", "NO_PROXY")


def clone(source: Path, destination: Path) -> None:
    """Copy what a clone of the working tree would have: files that git knows or would add, and nothing ignored."""
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (source / name).is_file():  # a file that is deleted but not committed is still listed
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, destination / name)


def interpreter(runtime: str) -> str:
    """The Python that ``runtime.txt`` asks for (``python-3.11``).

    Raises
    ------
    SystemExit
        There is none on this machine.
    """
    version = runtime.strip().removeprefix("python-")
    if version == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        sys.exit(
            f"binder/runtime.txt asks for Python {version}, and there is no python{version} on the PATH; install it."
        )
    return found


def environment(home: Path, venv: Path) -> dict[str, str]:
    """Variables of the image: a home and a PATH of its own. Where packages come from stays the machine's affair."""
    kept = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.upper().startswith(_PREFIXES)
    }
    places = {"PIP_CONFIG_FILE": ".config/pip/pip.conf", "NPM_CONFIG_USERCONFIG": ".npmrc"}
    for variable, place in places.items():
        if (Path.home() / place).exists():
            kept.setdefault(variable, str(Path.home() / place))
    path = os.pathsep.join([str(venv / "bin"), kept.get("PATH", os.defpath)])
    return {**kept, "HOME": str(home), "PATH": path, "VIRTUAL_ENV": str(venv)}


def step(title: str, command: list[str], env: dict[str, str], cwd: Path) -> None:
    """Run a step and say how long it took.

    Raises
    ------
    SystemExit
        It failed; the end of what it said is in the message.
    """
    print(f"{title} … ", end="", flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(f"{time.monotonic() - begin:.0f} s", flush=True)
    if done.returncode:
        sys.exit(f"{title}: failed\n{done.stdout.decode(errors='replace')[-4000:]}")


def build(folder: Path) -> tuple[Path, dict[str, str]]:
    """Everything that happens while the image is built; returns the clone and the variables to run things in it."""
    home, venv = folder / "home", folder / "venv"
    repository = home / "repository"
    clone(ROOT, repository)
    env = environment(home, venv)
    python = interpreter((repository / "binder" / "runtime.txt").read_text(encoding="utf-8"))
    install = ["python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    step("a fresh environment", [python, "-m", "venv", "--upgrade-deps", str(venv)], env, home)
    step("what repo2docker brings", [*install, *BASE], env, home)
    step("binder/requirements.txt", [*install, "-r", "binder/requirements.txt"], env, repository)
    step("binder/postBuild", [str(repository / "binder" / "postBuild")], env, repository)
    return repository, env


@contextlib.contextmanager
def server(repository: Path, env: dict[str, str]) -> Iterator[str]:
    """JupyterLab as the image starts it, with a token; gives its address, and ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    token = "a-token-as-binder-gives-one"
    process = subprocess.Popen(
        [*command, "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"],
        env=env,
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/{{}}?token={token}"
    finally:
        process.terminate()
        process.wait(30)


def fetch(address: str, seconds: float = 90) -> str:
    """What the server answers with status 200, once it answers.

    Raises
    ------
    SystemExit
        It did not within that time, or with another status.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return str(answer.read().decode())
        except OSError as error:  # an HTTP status other than 200 is one too
            if time.monotonic() > deadline or isinstance(error, urllib.error.HTTPError):
                sys.exit(f"{address}: {error}")
            time.sleep(0.3)


def open_badge(repository: Path, env: dict[str, str]) -> None:
    """Ask for the page that the badge opens, and for what it will load."""
    with server(repository, env) as address:
        page = fetch(address.format(URLPATH))
        if "exchange-workbench" not in page:
            sys.exit(f"{URLPATH}: the page does not load the JupyterLab extension")
        fetch(address.format(f"api/contents/{FIRST}"))
    print(f"{URLPATH}: 200")


def run(notebook: str, repository: Path, env: dict[str, str]) -> tuple[float, float, float]:
    """Run a tutorial as a visitor does; returns the seconds, those of the processor, and the megabytes.

    The megabytes are those of the largest process, the kernel.

    Raises
    ------
    SystemExit
        A cell failed.
    """
    begin = time.monotonic()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, after the process has ended
    process = subprocess.Popen(["jupyter", "execute", notebook], env=env, cwd=repository, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        log.seek(0)
        sys.exit(f"{notebook}: failed\n{log.read().decode(errors='replace')[-4000:]}")
    log.close()
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10  # bytes there, kilobytes elsewhere
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run every tutorial")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="build there, and leave it")
    arguments = parser.parse_args()
    beyond = []
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="binder-")))
        folder.mkdir(parents=True, exist_ok=True)
        repository, env = build(folder.resolve())
        open_badge(repository, env)
        found = sorted((repository / "notebooks").glob("*.ipynb")) if arguments.all else [repository / FIRST]
        for path in found:
            if "import torch" in path.read_text(encoding="utf-8"):
                print(f"{path.name}: not on Binder, it needs PyTorch")
                continue
            seconds, processor, megabytes = run(str(path.relative_to(repository)), repository, env)
            print(f"{path.name}: {seconds:.0f} s ({processor:.0f} s of the processor), {megabytes:.0f} MB", flush=True)
            if seconds > SECONDS or megabytes > MEGABYTES:
                beyond.append(path.name)
    if beyond:
        print(f"beyond {SECONDS} s or {MEGABYTES} MB: {', '.join(beyond)}")
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main())
