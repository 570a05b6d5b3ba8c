"""Says for every file what the plugin would make of it, and why, without writing anything.

Exit status: 0 if all files could be assessed, 1 if any could not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..dicom.header import DEFLATED, Header, read_header
from ..errors import HeaderError
from ..evidence.catalogue import Catalogue, load_catalogue
from ..intake import assess_received
from ..model import Assessment

FIRST_READ = 1 << 20
"""Bytes of a file that are read first: enough for nearly every header, and none of most pixels."""

_SOP_INSTANCE = 0x00080018
_LARGEST_HEAD = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders to walk")
    parser.add_argument("--format", choices=("jsonl", "table"), default="jsonl", help="default: jsonl")
    parser.add_argument("--markers", type=Path, metavar="DIR", help="a folder of site marker files (*.toml)")


def run(arguments: argparse.Namespace) -> int:
    """Classify the files that `arguments` name; returns the exit status. Raises CatalogueError."""
    catalogue = load_catalogue(arguments.markers)
    for problem in catalogue.problems:
        print(f"orthanc-provenance: {problem}", file=sys.stderr)
    results = classify(arguments.paths, catalogue)
    write = _write_table if arguments.format == "table" else _write_lines
    return 1 if write(results) else 0


def classify(paths: Iterable[Path], catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """One JSON-ready object per file: its assessment, or `path` and `error`. Never stops at a bad file."""
    for path in _files(paths):
        yield classify_file(path, catalogue)


def classify_file(path: Path, catalogue: Catalogue) -> dict[str, Any]:
    """The JSON-ready assessment of one file, or `path` and `error`."""
    try:
        header = read_file_header(path)
    except OSError as problem:
        return {"path": str(path), "error": f"cannot be read: {problem.strerror or problem}"}
    except HeaderError as problem:
        return {"path": str(path), "error": str(problem)}
    return {"path": str(path), **_result(header, assess_received(header, catalogue))}


def read_file_header(path: Path) -> Header:
    """The header of the file at `path`; of a large file only the beginning is read if that holds it.

    Raises OSError, and HeaderError as `dicom.header.read_header` does.
    """
    with path.open("rb") as file:
        beginning = file.read(FIRST_READ)
        if len(beginning) < FIRST_READ:
            return read_header(beginning)
        try:
            header = read_header(beginning)
        except HeaderError:
            pass
        else:
            # A cut between two elements looks like the end of the Data Set.
            if header.transfer_syntax != DEFLATED and header.pixel_start <= FIRST_READ - _LARGEST_HEAD:
                return header
        return read_header(beginning + file.read())


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names))


def _result(header: Header, assessment: Assessment) -> dict[str, Any]:
    return {
        "sop_instance_uid": header.text(_SOP_INSTANCE),
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
            }
            for found in assessment.evidence
        ],
    }


def _write_lines(results: Iterable[dict[str, Any]]) -> int:
    failures = 0
    for result in results:
        failures += "error" in result
        print(json.dumps(result, ensure_ascii=True))
    return failures


def _write_table(results: Iterable[dict[str, Any]]) -> int:
    failures = 0
    for result in results:
        if "error" in result:
            failures += 1
            print(f"{'(error)':<18} {result['path']}: {result['error']}")
            continue
        notes = list(result["modifiers"])
        notes += [name.replace("_", "-") for name, is_set in result["privacy"].items() if is_set]
        notes += ["labelled"] * result["labelled"]
        markers = dict.fromkeys(found["marker"] for found in result["evidence"])
        print(f"{result['state']:<18} {result['path']}  [{', '.join(notes)}]  {' '.join(markers)}".rstrip())
    return failures
