"""The machine around Orthanc: folders, locks, and what apt has to install."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import LaunchError

CHECKOUT = Path(__file__).resolve().parents[2]


def say(text: str) -> None:
    """A word to the person at the terminal. Standard output is kept for the `ready` line."""
    print(text, file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Where the installed Orthancs and their Python packages are kept, for all checkouts together."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "orthanc-provenance"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def default_data_folder() -> Path:
    """Where the archive lies when nobody says otherwise."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "orthanc-provenance"


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Holds the lock file `path`; says `waiting` when another start holds it already."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def dying_with_us(command: Sequence[str], name: str) -> list[str]:
    """The command, so that it gets the signal `name` when the thread that started it ends, in any way."""
    return ["setpriv", "--pdeathsig", name, *command]


def run(command: Sequence[str], env: dict[str, str] | None = None) -> tuple[int, str]:
    """Runs a command to its end in a process group of its own; returns its exit status and its output."""
    with subprocess.Popen(
        dying_with_us(command, "KILL"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            # Interrupted by the person: the whole group goes, or apt and debootstrap would work on unseen.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output


def last_error(output: str) -> str:
    """The line of a tool's output that says best what went wrong: the last error line, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "ERROR", "error"))]
    return (errors or lines or ["it said nothing"])[-1]


def need_root(purpose: str) -> None:
    """Raises `LaunchError` unless this is root."""
    if os.geteuid() != 0:
        raise LaunchError(
            f"{purpose} needs root", "run as root, or give an Orthanc of this machine with --orthanc PATH"
        )


def ensure_tools(tools: dict[str, str]) -> None:
    """Installs by apt what is missing of `tools`, a dictionary from command to Debian package."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    packages = sorted({package for command, package in tools.items() if not shutil.which(command, path=path)})
    if not packages:
        return
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise LaunchError(f"{names} is missing and this machine has no apt-get", "install it and start again")
    need_root(f"installing {names}")
    say(f"installing {names} ...")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    status, output = run(install, env)
    if status != 0:
        # A repository that is not ours may fail to refresh: what counts is whether the packages install.
        run(["apt-get", "update", "-qq"], env)
        status, output = run(install, env)
    if status != 0:
        raise LaunchError(
            f"apt-get cannot install {names} ({last_error(output)})",
            "check the network and the package sources, then start again",
        )
