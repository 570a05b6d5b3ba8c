"""Says for every file what the plugin would make of it, and why, without writing into any.

Folders are walked, by name; the results come in the order of the files, one for each, with "error" instead
of an assessment where there can be none. Bytes of a path that are no UTF-8 stand in JSON as Python has them
(\\udcff for 255), and elsewhere escaped.

Formats: jsonl has one JSON object per line, csv one row per file with the evidence as JSON, parquet the shape
of the JSON objects, and table, for people, one line per file, or with --explain all of its evidence.

With --resume, what is done is remembered in that file, and a run that was interrupted, or killed, is started
again with the same arguments: it goes on where the other one ended, and its output is that of a run that was
never interrupted. Files that have changed (size or time) or could not be opened are done again, and all of
them after a change of the markers.

Exit status: 0 if all files could be assessed, 1 if any could not, 2 for wrong usage and for what cannot be
read or written, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, islice
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..errors import CommandError, HeaderError
from ..evidence.catalogue import Catalogue, load_catalogue
from ..intake import assess_received
from ..model import Assessment
from .files import Found, read_file_header, version, walk
from .output import FORMATS, Output, open_output, partial_file
from .people import hush_pydicom
from .progress import progress
from .resume import Memory
from .workers import BATCH, Ready, Workers

_SOP_INSTANCE = 0x00080018
_INTERRUPTED = 130
_MOST_JOBS = 512
_WORTHWHILE = 8 * BATCH


class Done(NamedTuple):
    """What became of a file: its result, and the version that was read; None where that is not to be kept."""

    result: dict[str, Any]
    version: tuple[int, int] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders to walk")
    parser.add_argument("--format", choices=FORMATS, help="default: jsonl, with --explain table")
    parser.add_argument(
        "--explain", action="store_true", help="show the evidence for each file in a table for people"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write, as FILE.part until all is done"
    )
    parser.add_argument("--resume", type=Path, metavar="FILE", help="remember in FILE what is done")
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=_cores(),
        metavar="N",
        help="processes; default: one per core (%(default)s)",
    )
    parser.add_argument("--markers", type=Path, metavar="DIR", help="a folder of site marker files (*.toml)")


def run(arguments: argparse.Namespace) -> int:
    """Classify the files that `arguments` name; returns the exit status. Raises ProvenanceError."""
    form = arguments.format or ("table" if arguments.explain else "jsonl")
    if arguments.explain and form != "table":
        raise CommandError(f"--explain is for people, {form} is not; leave one of them out, or take table")
    hush_pydicom()
    catalogue = load_catalogue(arguments.markers)
    for problem in catalogue.problems:
        print(f"orthanc-provenance: {problem}", file=sys.stderr)
    try:
        with ExitStack() as stack:
            output = stack.enter_context(open_output(form, arguments.output, explain=arguments.explain))
            return 1 if _classify_all(arguments, catalogue, output, stack) else 0
    except KeyboardInterrupt:
        where = f", what is done is in {partial_file(arguments.output)}" if arguments.output else ""
        again = "; the same command goes on from here" if arguments.resume else ""
        print(f"orthanc-provenance: interrupted{where}{again}", file=sys.stderr)
        return _INTERRUPTED


def _classify_all(
    arguments: argparse.Namespace, catalogue: Catalogue, output: Output, stack: ExitStack
) -> int:
    """Classify and write; the number of files that could not be assessed."""
    memory = None
    if arguments.resume:
        key = f"{__version__} {catalogue.revision} {'explained' if arguments.explain else ''}"
        memory = stack.enter_context(Memory(arguments.resume, key))
    find = partial(walk, arguments.paths, _own_files(arguments))
    shown = stack.enter_context(progress(find(), shown=any(map(os.path.isdir, arguments.paths))))
    work = partial(_classify_found, catalogue=catalogue, explain=arguments.explain)
    rest = (arguments.markers, arguments.explain)
    failures = 0
    with closing(_in_order(_recall(find(), memory), arguments.jobs, work, rest)) as all_done:
        for done in all_done:
            if memory is not None and done.version is not None:
                memory.keep(done.result, done.version)
            failures += "error" in done.result
            with shown.aside():
                output.write(done.result)
            shown.step()
    return failures


def _recall(found: Iterable[Found], memory: Memory | None) -> Iterator[Found | Ready[Done]]:
    """What is found, with the results that `memory` has in place of the files that they are of."""
    for file in found:
        result = None
        if memory is not None and not file.error:
            try:
                result = memory.find(file.path, version(file.path))
            except OSError:
                # Whoever reads the file tells why it cannot be read.
                result = None
        yield file if result is None else Ready(Done(result, None))


def _in_order(
    items: Iterable[Found | Ready[Done]],
    jobs: int,
    work: Callable[[Found], Done],
    arguments: tuple[Path | None, bool],
) -> Generator[Done, None, None]:
    """The results for `items`, by `work` in this process, or by as many others as `jobs` says.

    A few files are not worth the start of another process.
    """
    waiting = iter(items)
    first = list(islice(waiting, _WORTHWHILE))
    if jobs == 1 or len(first) < _WORTHWHILE:
        for item in chain(first, waiting):
            yield item.result if isinstance(item, Ready) else work(item)
        return
    with Workers[Found, Done](jobs, make_work, arguments, _give_up) as workers:
        yield from workers.work(chain(first, waiting))


def make_work(markers: Path | None, explain: bool) -> Callable[[Found], Done]:
    """What a worker does with a file. Raises CatalogueError."""
    hush_pydicom()
    return partial(_classify_found, catalogue=load_catalogue(markers), explain=explain)


def _classify_found(found: Found, catalogue: Catalogue, explain: bool) -> Done:
    if found.error:
        return Done({"path": found.path, "error": found.error}, None)
    try:
        # Before it is read: where it changes meanwhile, the next run takes it for changed.
        read = version(found.path)
        return Done(_assess_file(found.path, catalogue, explain), read)
    except OSError as problem:
        error = f"cannot be read: {problem.strerror or problem}"
    # The boundary of a file: what its bytes did to the engine must not end the run over all others.
    except Exception as problem:  # noqa: BLE001
        error = f"cannot be assessed ({type(problem).__name__}: {problem}): please report it"
    return Done({"path": found.path, "error": error}, None)


def classify_file(path: Path | str, catalogue: Catalogue) -> dict[str, Any]:
    """The JSON-ready assessment of one file, or `path` and `error`."""
    return _classify_found(Found(str(path)), catalogue, explain=False).result


def _assess_file(path: str, catalogue: Catalogue, explain: bool) -> dict[str, Any]:
    """Raises OSError."""
    try:
        header = read_file_header(path)
        assessment = assess_received(header, catalogue)
    except HeaderError as problem:
        return {"path": path, "error": str(problem)}
    return {"path": path, "sop_instance_uid": header.text(_SOP_INSTANCE), **describe(assessment, explain)}


def describe(assessment: Assessment, explain: bool) -> dict[str, Any]:
    """An assessment, JSON-ready; with `explain`, evidence has what it says beside the axis of that."""
    return {
        "state": assessment.state.value,
        "origin": assessment.origin.value,
        "privacy": {
            "identity_removed": assessment.privacy.identity_removed,
            "defaced": assessment.privacy.defaced,
        },
        "labelled": assessment.labelled,
        "modifiers": [modifier.value for modifier in assessment.modifiers],
        "evidence": [
            {
                "marker": found.marker,
                "attribute": found.attribute,
                "value": found.value,
                "axis": found.axis.value,
                "strength": found.strength.value,
                **({"says": found.says} if explain else {}),
            }
            for found in assessment.evidence
        ],
    }


def _give_up(found: Found, how: str) -> Done:
    """The result of a file over which two processes have ended."""
    error = f"the process that read it has ended ({how}); is there memory enough for it?"
    return Done({"path": found.path, "error": error}, None)


def _own_files(arguments: argparse.Namespace) -> frozenset[str]:
    """The real paths of what this run writes, which may lie in a folder that it walks."""
    written: list[Path] = []
    if arguments.output:
        written += [arguments.output, partial_file(arguments.output)]
    if arguments.resume:
        written += [arguments.resume, arguments.resume.with_name(f"{arguments.resume.name}-journal")]
    return frozenset(map(os.path.realpath, written))


def _cores() -> int:
    if "forkserver" not in get_all_start_methods():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_JOBS}")
    return int(text)
