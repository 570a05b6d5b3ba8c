"""The catalogue of markers: TOML files shipped with the package, and those a site adds.

A site's entry with the id of a shipped one replaces it. Whatever is wrong in a file is refused by name and
kept in `Catalogue.problems`; everything else still loads. The examples of an entry, and all false friends,
are run when it is loaded: an entry that contradicts them is refused too.

Whoever refuses an entry raises ValueError with "reason; suggestion", of which either is told by itself.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import CatalogueError
from .examples import contradictions
from .friends import FalseFriend, mistakes, parse_friend
from .language import did_you_mean
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
    file: str


class _Friend(NamedTuple):
    friend: FalseFriend
    file: str


class Listing(NamedTuple):
    """Where a marker stands: its file, whether a site wrote that, and whether instead of a shipped marker."""

    file: str
    of_site: bool
    overrides: bool


class _Layer(NamedTuple):
    """The entries of the package, or of a site, by their ids."""

    markers: dict[str, _Entry]
    friends: dict[str, _Friend]


@dataclass(frozen=True)
class Catalogue:
    """The markers in force, the problems met while loading them, and the revision of their content.

    `false_friends` are what the markers were held against. `revision` is 12 hexadecimal digits that depend on
    the content of all markers and on nothing else: not on file names, comments, or order. `listings` says
    by id where each marker stands.
    """

    markers: tuple[Marker, ...]
    problems: tuple[CatalogueError, ...]
    revision: str
    false_friends: tuple[FalseFriend, ...] = ()
    listings: Mapping[str, Listing] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        """The markers grouped by attribute, compiled once for the matcher."""
        return Plan.of(self.markers)


def load_catalogue(site_directory: Path | None = None) -> Catalogue:
    """The shipped markers and, on top, the `*.toml` files of `site_directory`.

    Raises CatalogueError only where `site_directory` is given and is no directory that can be listed.
    """
    problems: list[CatalogueError] = []
    shipped = _read_layer(_shipped_files(), problems)
    shipped_ids = frozenset(shipped.markers)
    site = _read_layer(_site_files(site_directory), problems)
    _refuse_mistakes(shipped, shipped.friends, problems)
    kept = {name: entry for name, entry in shipped.markers.items() if name not in site.markers}
    _refuse_friends(site.friends, kept, problems)
    friends = shipped.friends | site.friends
    _refuse_mistakes(site, friends, problems)
    entries = shipped.markers | site.markers
    ordered = [entries[marker_id] for marker_id in sorted(entries)]
    return Catalogue(
        markers=tuple(entry.marker for entry in ordered),
        problems=tuple(problems),
        revision=_revision([entry.table for entry in ordered]),
        false_friends=tuple(known.friend for known in friends.values()),
        listings={name: _listing(entry, site, shipped_ids) for name, entry in entries.items()},
    )


def _listing(entry: _Entry, site: _Layer, shipped: frozenset[str]) -> Listing:
    of_site = site.markers.get(entry.marker.id) is entry
    return Listing(entry.file, of_site, of_site and entry.marker.id in shipped)


def _read_layer(files: list[_Readable], problems: list[CatalogueError]) -> _Layer:
    layer = _Layer({}, {})
    for file in files:
        for entry in _read_file(file, problems):
            taken: dict[str, Any] = layer.markers if isinstance(entry, _Entry) else layer.friends
            entry_id = entry.marker.id if isinstance(entry, _Entry) else entry.friend.id
            if entry_id in taken:
                problems.append(_problem(file.name, entry_id, "the id is taken; give the entry another"))
            else:
                taken[entry_id] = entry
    return layer


def _refuse_mistakes(layer: _Layer, friends: dict[str, _Friend], problems: list[CatalogueError]) -> None:
    """Take out of `layer` the markers that say of a false friend what they must not."""
    markers = [entry.marker for entry in layer.markers.values()]
    for marker, friend in mistakes(markers, [known.friend for known in friends.values()]):
        file = layer.markers.pop(marker.id).file
        problems.append(
            _problem(file, marker.id, f"matches the false friend {friend.id} ({friend.title}); narrow it")
        )


def _refuse_friends(
    friends: dict[str, _Friend], shipped: dict[str, _Entry], problems: list[CatalogueError]
) -> None:
    """Take out of `friends` those that shipped markers speak of: a site overrides these by name, not so."""
    markers = [entry.marker for entry in shipped.values()]
    for friend_id, (friend, file) in list(friends.items()):
        for marker, _ in mistakes(markers, [friend]):
            problems.append(
                _problem(
                    file, friend_id, f"the shipped marker {marker.id} matches it; override that one by its id"
                )
            )
            friends.pop(friend_id, None)


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


def _read_file(file: _Readable, problems: list[CatalogueError]) -> Iterator[_Entry | _Friend]:
    try:
        document = tomllib.loads(_read_text(file))
    except OSError as problem:
        problems.append(
            _problem(file.name, "", f"cannot be read ({problem.strerror}); let the server read it")
        )
        return
    except (ValueError, RecursionError) as problem:
        problems.append(
            _problem(file.name, "", f"no TOML in UTF-8: {problem}; write it as the shipped files are written")
        )
        return
    unknown = sorted(set(document) - _KINDS.keys())
    if unknown or not document or not all(isinstance(tables, list) for tables in document.values()):
        found = ", ".join(f"{key!r}{did_you_mean(key, _KINDS)}" for key in unknown) or "none"
        problems.append(
            _problem(
                file.name,
                "",
                f"no entries (found {found}); write entries as [[marker]] or [[false_friend]] tables",
            )
        )
        return
    for kind, tables in document.items():
        for number, table in enumerate(tables, 1):
            name = table.get("id", f"number {number}") if isinstance(table, dict) else f"number {number}"
            try:
                if not isinstance(table, dict):
                    raise ValueError(f"no table; write [[{kind}]] above its keys")
                yield _KINDS[kind](table, file.name)
            except ValueError as problem:
                problems.append(_problem(file.name, str(name), str(problem)))


def _read_text(file: _Readable) -> str:
    content = file.read_bytes()
    if len(content) > _MAX_FILE:
        raise ValueError(f"{len(content)} bytes are more than {_MAX_FILE}, split the file")
    return content.decode("utf-8")


def _read_marker(table: Mapping[str, Any], file: str) -> _Entry:
    marker = parse_marker(table)
    for contradiction in contradictions(marker):
        raise ValueError(contradiction)
    return _Entry(marker, table, file)


def _read_friend(table: Mapping[str, Any], file: str) -> _Friend:
    return _Friend(parse_friend(table), file)


_KINDS: Mapping[str, Callable[[Mapping[str, Any], str], _Entry | _Friend]] = {
    "marker": _read_marker,
    "false_friend": _read_friend,
}


def _problem(file: str, entry: str, refusal: str) -> CatalogueError:
    reason, _, suggestion = refusal.rpartition("; ")
    return CatalogueError(reason or suggestion, suggestion if reason else "", file=file, entry=entry)


def _revision(tables: list[Mapping[str, Any]]) -> str:
    canonical = json.dumps(tables, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
