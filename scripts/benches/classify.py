"""Files assessed per second from their headers, with a warm cache: on one core, and by the whole command."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from orthanc_provenance.cli import main
from orthanc_provenance.commands.classify import classify_file
from orthanc_provenance.evidence.catalogue import load_catalogue

from . import images

NAME = "classify"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--count", type=int, default=2000, help="CT files to assess (default 2000)")
    parser.add_argument("--times", type=int, default=5, help="how often the command walks them (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default 3)")
    parser.add_argument(
        "--jobs",
        type=int,
        nargs="*",
        default=[1, 2],
        metavar="N",
        help="processes of the command (default 1 2)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the rates, after a first pass over the files that warms the cache."""
    catalogue = load_catalogue(None)
    made = images.numbered(images.ct_template())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.dcm" for number in range(options.count)]
        for path in paths:
            path.write_bytes(next(made))
            classify_file(path, catalogue)

        def assess() -> None:
            for path in paths:
                classify_file(path, catalogue)

        seconds = _median(assess, options.rounds)
        print(
            f"{options.count / seconds:.0f} files a second on one core ({options.count} CT files of 0.5 MB)"
        )
        total = options.count * options.times
        for jobs in options.jobs:
            arguments = ["classify", *[folder] * options.times, "--jobs", str(jobs), "--output", os.devnull]

            def command(arguments: list[str] = arguments) -> None:
                if main(arguments):
                    raise RuntimeError("a file could not be assessed")

            seconds = _median(command, options.rounds)
            print(f"{total / seconds:.0f} files a second by the command with --jobs {jobs} ({total} files)")
    return 0


def _median(action: Callable[[], None], rounds: int) -> float:
    """Seconds that `action` takes."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
