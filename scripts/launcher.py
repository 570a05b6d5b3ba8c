"""The command behind `scripts/run`: Orthanc with the plugin, in the foreground until it is interrupted."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from launch import configure, start, viewer
from launch.errors import LaunchError
from launch.machine import say
from launch.server import Server


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP: stop cleanly. A BaseException, as KeyboardInterrupt is."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends with the launcher's kind of error line."""
        raise LaunchError(message, "see scripts/run --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. Raises LaunchError."""
    parser = Parser(
        prog="scripts/run",
        description="Runs Orthanc with the provenance plugin in the foreground until interrupted; installs "
        "what is missing first. Prints one line `ready http://127.0.0.1:PORT/` when it serves. Orthanc's log "
        "goes into the data folder.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--orthanc",
        default="auto",
        metavar="auto|1.12|1.13|PATH",
        help="which Orthanc: one of this machine if it is 1.12.7 or newer, else 1.12 (auto, the default); a "
        "version kept in the cache folder; or an executable or the folder that contains it",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="data folder (default: the configuration's, else one in your home)",
    )
    add("--http-port", type=port, metavar="N", help="HTTP port, 0 for any free one (default 8042)")
    add("--dicom-port", type=port, metavar="N", help="DICOM port, 0 for any free one (default 4242)")
    add("--research-dicom-port", type=port, metavar="N", help="DICOM port for research (default 4243)")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="an Orthanc configuration, file or folder; it is not changed",
    )
    add("--demo", action="store_true", help="once ready, run the demonstration, then keep serving")
    add("--viewer", action="store_true", help="serve the OHIF viewer beside it, on the research root")
    add("--viewer-port", type=port, default=3000, metavar="N", help="its port, 0 for any (default 3000)")
    add("--pid-file", type=Path, metavar="FILE", help="write the process id of Orthanc into this file")
    add("--verbose", action="store_true", help="a detailed Orthanc log")
    return parser.parse_args(arguments)


def port(text: str) -> int:
    """A port number of the command line. Raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number from 0 to 65535")
    return int(text)


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """The signal handler: the first signal stops everything, later ones do not disturb the stopping."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise Interrupted(number)


def serve(options: argparse.Namespace) -> None:
    """Starts Orthanc and returns when it has ended, cleanly, by itself or by a signal. Raises LaunchError."""
    request = configure.Request(
        options.http_port, options.dicom_port, options.research_dicom_port, options.data
    )
    with ExitStack() as stack:
        served = start.prepared(stack, request, options.orthanc, options.config, verbose=options.verbose)
        say(f"data in {served.data}, Orthanc's log in {served.log_path}")
        stack.callback(served.stop)
        served.start()
        if options.pid_file is not None:
            stack.callback(options.pid_file.unlink, missing_ok=True)
            options.pid_file.write_text(f"{served.pid}\n")
        if options.config is None:
            for user in configure.USERS:
                print(f"user {user} password {served.users[user]}")
        if options.viewer:
            print(f"viewer {stack.enter_context(viewer.serving(served, options.viewer_port))}")
        print(f"ready {served.url}/", flush=True)
        try:
            if options.demo:
                demonstrate(served)
            served.wait()
        except Interrupted:
            served.stop()
            served.wait()


def demonstrate(served: Server) -> None:
    """Runs the demonstration against the server. Raises LaunchError: no such users, or it failed."""
    demo = importlib.import_module("demo")
    try:
        demo.main(served.url, served.dicom_port, served.admin[1], served.researcher[1])
    except RuntimeError as error:
        raise LaunchError(f"the demonstration failed ({error})", f"see {served.log_path}") from error


def main(arguments: list[str]) -> int:
    """The exit status: 0 after an interruption or a clean end of Orthanc, 2 after an error."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup asks to survive the terminal.
        if name != signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, interrupt)
    try:
        serve(parse(arguments))
    except Interrupted:
        return 0
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}; do check that path and start again", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
