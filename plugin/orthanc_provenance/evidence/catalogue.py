"""The catalogue of markers: TOML files shipped with the package, and those a site adds.

A site's entry with the id of a shipped one replaces it. Whatever is wrong in a file is refused by name and
kept in `Catalogue.problems`; everything else still loads. The examples of an entry are run when it is loaded:
an entry that contradicts them is refused too.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import CatalogueError
from .examples import contradictions
from .marker import Marker, parse_marker
from .plan import Plan

_SHIPPED = "markers"
_MAX_FILE = 1 << 20


class _Readable(Protocol):
    """A file of the package or of a site: what `Path` and importlib's Traversable have in common."""

    @property
    def name(self) -> str: ...

    def read_bytes(self) -> bytes: ...


class _Entry(NamedTuple):
    marker: Marker
    table: Mapping[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """The markers in force, the problems met while loading them, and the revision of their content.

    `revision` is 12 hexadecimal digits that depend on the content of all entries and on nothing else: not on
    file names, comments, or order.
    """

    markers: tuple[Marker, ...]
    problems: tuple[CatalogueError, ...]
    revision: str

    @cached_property
    def plan(self) -> Plan:
        """The markers grouped by attribute, compiled once for the matcher."""
        return Plan.of(self.markers)


def load_catalogue(site_directory: Path | None = None) -> Catalogue:
    """The shipped markers and, on top, the `*.toml` files of `site_directory`.

    Raises CatalogueError only where `site_directory` is given and is no directory that can be listed.
    """
    problems: list[CatalogueError] = []
    entries: dict[str, _Entry] = {}
    for files in (_shipped_files(), _site_files(site_directory)):
        layer: dict[str, _Entry] = {}
        for file in files:
            for entry in _read_file(file, problems):
                if entry.marker.id in layer:
                    problems.append(
                        _problem(file, entry.marker.id, "the id is taken; give the entry another")
                    )
                else:
                    layer[entry.marker.id] = entry
        entries.update(layer)
    ordered = [entries[marker_id] for marker_id in sorted(entries)]
    return Catalogue(
        markers=tuple(entry.marker for entry in ordered),
        problems=tuple(problems),
        revision=_revision([entry.table for entry in ordered]),
    )


def _shipped_files() -> list[_Readable]:
    directory = resources.files(__package__) / _SHIPPED
    return sorted(
        (file for file in directory.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name
    )


def _site_files(directory: Path | None) -> list[_Readable]:
    if directory is None:
        return []
    try:
        return sorted(
            (file for file in directory.iterdir() if file.suffix == ".toml"), key=lambda file: file.name
        )
    except OSError as problem:
        raise CatalogueError(
            f"the markers directory {directory} cannot be listed ({problem.strerror}): create it, let the"
            ' server read it, or leave "MarkersDirectory" empty'
        ) from problem


def _read_file(file: _Readable, problems: list[CatalogueError]) -> Iterator[_Entry]:
    try:
        content = file.read_bytes()
        if len(content) > _MAX_FILE:
            raise ValueError(f"{len(content)} bytes are more than {_MAX_FILE}; split the file")
        document = tomllib.loads(content.decode("utf-8"))
    except OSError as problem:
        problems.append(_problem(file, "", f"cannot be read ({problem.strerror}); let the server read it"))
        return
    except (ValueError, RecursionError) as problem:
        problems.append(_problem(file, "", f"no TOML in UTF-8: {problem}"))
        return
    tables = document.get("marker")
    unknown = sorted(set(document) - {"marker"})
    if unknown or not isinstance(tables, list):
        problems.append(_problem(file, "", f"write entries as [[marker]] tables (found {unknown or 'none'})"))
        return
    for number, table in enumerate(tables, 1):
        name = table.get("id", f"number {number}") if isinstance(table, dict) else f"number {number}"
        try:
            yield _read_entry(table)
        except ValueError as problem:
            problems.append(_problem(file, str(name), str(problem)))


def _read_entry(table: object) -> _Entry:
    if not isinstance(table, dict):
        raise ValueError("no table; write [[marker]] above its keys")
    marker = parse_marker(table)
    for contradiction in contradictions(marker):
        raise ValueError(contradiction)
    return _Entry(marker, table)


def _problem(file: _Readable, entry: str, reason: str) -> CatalogueError:
    where = f"{file.name}, entry {entry}" if entry else file.name
    return CatalogueError(f"{where}: {reason}")


def _revision(tables: list[Mapping[str, Any]]) -> str:
    canonical = json.dumps(tables, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
