"""Shows the markers in force, tries a file against them, and checks the marker files of a site.

  orthanc-provenance markers list
  orthanc-provenance markers show generator.gan
  orthanc-provenance markers test image.dcm --markers /etc/orthanc/markers.d
  orthanc-provenance markers lint /etc/orthanc/markers.d

"test" explains one file: what it is taken for, every marker that matched, and every one whose pattern was
found but which a guard held off, with what the guard met. "lint" reads marker files as the plugin would,
runs their examples, and holds them against the false friends; without a folder it checks the shipped ones.

Exit status: 0 if it was done, 1 if there is no such marker, if the file cannot be assessed, or if "lint"
found anything that is refused, 2 for wrong usage and for a folder that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import CatalogueError, HeaderError
from ..evidence.catalogue import Catalogue, load_catalogue
from ..evidence.describe import details, refusal, summary
from ..evidence.explain import HeldOff, explain
from ..evidence.language import did_you_mean
from ..intake import assess_received
from .classify import describe
from .files import read_file_header
from .output import explained
from .people import hush_pydicom, named, printable, table

_LISTED = ("id", "axis", "says", "strength", "file", "title")
_SHOWN = ("id", "title", "axis", "says", "strength", "source", "file")
_HELD_OFF = ("MARKER", "ATTRIBUTE", "VALUE", "HELD OFF BY", "WHICH FOUND")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    site = argparse.ArgumentParser(add_help=False)
    site.add_argument("--markers", type=Path, metavar="DIR", help="a folder of site marker files (*.toml)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[form, site], help="list the markers in force, by their ids")
    show = actions.add_parser("show", parents=[form, site], help="show all of one marker")
    show.add_argument("id", metavar="ID")
    test = actions.add_parser("test", parents=[form, site], help="explain what the markers make of a file")
    test.add_argument("file", type=Path, metavar="FILE")
    lint = actions.add_parser("lint", parents=[form], help="check the marker files of a site")
    lint.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="folders of marker files (*.toml)")


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` ask for; returns the exit status. Raises CatalogueError."""
    hush_pydicom()
    as_json = arguments.format == "jsonl"
    if arguments.action == "lint":
        return _lint(arguments.folders, as_json)
    catalogue = load_catalogue(arguments.markers)
    for problem in catalogue.problems:
        _tell(str(problem))
    if arguments.action == "list":
        return _list(catalogue, as_json)
    if arguments.action == "show":
        return _show(catalogue, arguments.id, as_json)
    return _test(catalogue, arguments.file, as_json)


def _list(catalogue: Catalogue, as_json: bool) -> int:
    found = [summary(catalogue, marker) for marker in catalogue.markers]
    if as_json:
        _print_json(*found)
        return 0
    for marker in found:
        marker["file"] += _of_site(marker)
    _print(table([key.upper() for key in _LISTED], [[marker[key] for key in _LISTED] for marker in found]))
    return 0


def _of_site(marker: dict[str, Any]) -> str:
    if marker["overrides"]:
        return " (site, overrides)"
    return " (site)" if marker["site"] else ""


def _show(catalogue: Catalogue, marker_id: str, as_json: bool) -> int:
    by_id = {marker.id: marker for marker in catalogue.markers}
    if marker_id not in by_id:
        _tell(f"there is no marker {marker_id!r}{did_you_mean(marker_id, by_id)}; see markers list")
        return 1
    found = details(catalogue, by_id[marker_id])
    if as_json:
        _print_json(found)
        return 0
    pattern = found["pattern"]
    rows = [(key, found[key]) for key in _SHOWN]
    rows[-1] = ("file", found["file"] + _of_site(found))
    rows += _labelled("looks at", found["attributes"])
    rows += _labelled(f"for {pattern['kind']}", pattern["words"])
    rows += _labelled("guards", found["guards"])
    for kind, title in (("match", "matches"), ("no_match", "must not match")):
        rows += _labelled(title, [json.dumps(one, ensure_ascii=False) for one in found["examples"][kind]])
    width = max(len(key) for key, _ in rows)
    _print([f"{key:<{width}}  {printable(value)}".rstrip() for key, value in rows])
    return 0


def _labelled(title: str, values: list[str]) -> list[tuple[str, str]]:
    """Rows of which the first has the title; none where there are no values."""
    return [(title if number == 0 else "", value) for number, value in enumerate(values)]


def _test(catalogue: Catalogue, file: Path, as_json: bool) -> int:
    try:
        header = read_file_header(file)
        assessment = assess_received(header, catalogue)
        held_off = explain(catalogue, header).held_off
    except OSError as problem:
        _tell(f"{printable(str(file))} cannot be read: {problem.strerror or problem}")
        return 1
    except HeaderError as problem:
        _tell(f"{printable(str(file))}: {problem}")
        return 1
    result = {"path": str(file), **describe(assessment, explain=True)}
    if as_json:
        _print_json({**result, "held_off": [_held_off(held) for held in held_off]})
        return 0
    _print(explained(result))
    titles = {marker.id: marker for marker in catalogue.markers}
    for marker_id in dict.fromkeys(found["marker"] for found in result["evidence"]):
        if marker_id in titles:
            marker = titles[marker_id]
            _print(
                ["", f"  {marker_id}: {printable(marker.title)}", f"    source: {printable(marker.source)}"]
            )
    if held_off:
        rows = [
            (held.marker, named(held.attribute), held.value, held.guard, held.guard_found or "(nothing)")
            for held in held_off
        ]
        _print(["", "held off by guards:", *table(_HELD_OFF, rows, indent="  ")])
    return 0


def _held_off(held: HeldOff) -> dict[str, str]:
    return {
        "marker": held.marker,
        "attribute": held.attribute,
        "value": held.value,
        "guard": held.guard,
        "guard_found": held.guard_found,
    }


def _lint(folders: list[Path], as_json: bool) -> int:
    """Check the shipped files, or those of each of `folders` on top of them, one folder at a time."""
    refused = 0
    checked: list[Path | None] = [*folders] or [None]
    for folder in checked:
        catalogue = load_catalogue(folder)
        refused += len(catalogue.problems)
        if as_json:
            place = {} if folder is None else {"folder": str(folder)}
            _print_json(*({**place, **refusal(problem)} for problem in catalogue.problems))
        else:
            for problem in catalogue.problems:
                _print(_refused(problem))
            of_site = sum(listing.of_site for listing in catalogue.listings.values())
            in_force = len(catalogue.markers) if folder is None else of_site
            name = "shipped files" if folder is None else printable(str(folder))
            _print([f"{name}: {in_force} markers in force, {len(catalogue.problems)} refused"])
    return 1 if refused else 0


def _refused(problem: CatalogueError) -> list[str]:
    where = ", entry ".join(filter(None, (problem.file, problem.entry)))
    lines = [printable(where), f"  refused because: {printable(problem.reason)}"]
    return lines + [f"  what to do: {printable(problem.suggestion)}"] * bool(problem.suggestion)


def _print(lines: list[str]) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding))


def _print_json(*found: dict[str, Any]) -> None:
    for one in found:
        print(json.dumps(one))


def _tell(text: str) -> None:
    print(f"orthanc-provenance: {text}", file=sys.stderr)
