"""Starts Orthanc as a direct child, waits until it serves, says why it does not, stops it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LaunchError
from .machine import CHECKOUT, dying_with_us
from .roots import Installation

# Run by sh in a private mount namespace: paths below /usr that must stay are put into the root's /usr, which
# then takes the place of ours; everything vanishes with the process. $1: root, $2: number of kept paths, then
# those paths, then the command. exec comes last, so Orthanc has the process id that the launcher knows.
# The overlay gives the kept paths their mount points: made in the root itself, they would stay in the cache.
_ENTER_ROOT = """
set -eu
root=$1; keep=$2; shift 2
if [ "$keep" -gt 0 ]; then
    room=$root/mnt
    mount -t tmpfs tmpfs "$room"
    mkdir "$room/upper" "$room/work"
    mount -t overlay -o "lowerdir=$root/usr,upperdir=$room/upper,workdir=$room/work" overlay "$root/usr"
fi
while [ "$keep" -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"
    else mkdir -p "$(dirname "$root$1")"; [ -e "$root$1" ] || : >"$root$1"
    fi
    mount --rbind "$1" "$root$1"
    keep=$((keep - 1)); shift
done
mount --bind "$root/etc/ld.so.cache" /etc/ld.so.cache
if [ -d /etc/alternatives ] && [ -d "$root/etc/alternatives" ]; then
    mount --bind "$root/etc/alternatives" /etc/alternatives
fi
mount --rbind "$root/usr" /usr
exec "$@"
"""
# Variables that point into this machine's /usr and would mislead an Orthanc of another Debian.
_FOREIGN = (
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DCMDICTPATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
)
_ERROR_LINE = re.compile(r"^[EF]\d{4} [\d:.]+ +(?:.{0,16} )?[\w:./-]+:\d+\] (.*)$")
_LOG_LINE = re.compile(r"^[A-Z]\d{4} [\d:.]+ ")
_LEAST_TELLING = ("Uncaught exception, stopping now", "Error while initializing plugin", "INTERNAL ERROR")
READY_SECONDS = 120.0
STOP_SECONDS = 60.0


def command(installation: Installation, config: Path, keep: Sequence[Path], verbose: bool) -> list[str]:
    """The command line that starts Orthanc with `config`; `keep`: paths below /usr that it must see."""
    orthanc = [str(installation.binary), *(["--verbose"] if verbose else []), str(config)]
    root = installation.root
    if root is None:
        return orthanc
    inside = [str(root), str(len(keep)), *map(str, keep), *orthanc]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER_ROOT, "sh", *inside]


def environment(installation: Installation, site: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Orthanc's environment: ours, with this checkout's package and its dependencies on Python's path."""
    env = dict(os.environ)
    own_path = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
    if installation.root is not None:
        for name in _FOREIGN:
            env.pop(name, None)
        own_path = []
        env["LANG"] = "C.UTF-8"
    env["PYTHONPATH"] = ":".join([str(CHECKOUT / "plugin"), str(site), *own_path])
    env["PATH"] = env.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return env | dict(extra)


def start(
    command_line: Sequence[str], env: Mapping[str, str], log: Path, inherit: int
) -> subprocess.Popen[bytes]:
    """Starts Orthanc with its output appended to `log`; the descriptor `inherit` stays open in it.

    The process leads a group of its own (Ctrl-C reaches the launcher only, which then stops Orthanc once: a
    second signal would end it uncleanly) and is told to stop when the launcher dies, however it dies.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            dying_with_us(command_line, "TERM"),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(env),
            pass_fds=(inherit,),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def errors_in(log: str) -> list[str]:
    """The error messages in a piece of Orthanc's log, oldest first, a Python error as `Type: message`."""
    found: list[str] = []
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if match := _ERROR_LINE.match(line):
            message = match.group(1).strip()
            if message.endswith("traceback:"):
                message = _python_error(lines[number + 1 :]) or message
            found.append(message)
    telling = [message for message in found if not message.startswith(_LEAST_TELLING)]
    return telling or found[-1:]


def _python_error(lines: Sequence[str]) -> str:
    """Orthanc's Python plugin writes `<class 'x.Error'>`, the message, an empty line, and the frames."""
    block: list[str] = []
    for line in lines:
        if not line.strip() or _LOG_LINE.match(line):
            break
        block.append(line.strip())
    if not block:
        return ""
    kind = re.sub(r"^<class '(?:.*\.)?(\w+)'>$", r"\1", block[0])
    return f"{kind}: {' '.join(block[1:])}" if len(block) > 1 else kind


def why_it_ended(status: int, text: str, log: Path) -> LaunchError:
    """The error for an Orthanc that did not end cleanly; `text` is what it wrote to `log` since its start."""
    for line in text.splitlines():
        if line.startswith(("unshare:", "mount:")):
            return LaunchError(
                f"Orthanc cannot get its private mounts ({line.strip()})",
                "run where mounting is allowed (in a container: capability SYS_ADMIN), or use --orthanc PATH",
            )
    messages = errors_in(text)[-3:] or [line for line in text.splitlines() if line.strip()][-1:]
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    said = " | ".join(messages) or "it wrote nothing"
    return LaunchError(f"Orthanc did not end cleanly ({how}): {said}", f"see {log}")


def answers(scheme: str, host: str, port: int) -> bool:
    """Does an HTTP server answer `/system`, whatever it answers (401 without a password, for one)?"""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    if scheme == "https":
        # The site's own certificate may be anything; this asks for life, not for identity.
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=unverified)
    try:
        connection.request("GET", "/system")
        connection.getresponse().read()
    except ssl.SSLError:
        return True  # It speaks TLS and refuses us for want of a client certificate.
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def wait_until_ready(
    process: subprocess.Popen[bytes], address: tuple[str, str, int], log: Path, offset: int
) -> None:
    """Returns once Orthanc serves at `address` (scheme, host, port).

    Then the plugin is up too: Orthanc loads plugins before it opens its HTTP server, and ends when one fails.
    `offset`: size of the log before the start, in bytes. Raises LaunchError: it ended, or is not up in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not answers(*address):
        status = process.poll()
        if status is not None:
            raise why_it_ended(status, log_since(log, offset), log)
        if time.monotonic() > deadline:
            raise LaunchError(f"Orthanc does not serve after {READY_SECONDS:.0f} s", f"see {log}")
        time.sleep(0.05)


def log_since(log: Path, offset: int) -> str:
    """What the log holds from byte `offset` on."""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def stop(process: subprocess.Popen[bytes]) -> int:
    """Stops Orthanc cleanly, by force after STOP_SECONDS; returns its exit status (0: clean)."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
