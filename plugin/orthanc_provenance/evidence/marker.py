"""One entry of the catalogue: where to look, what for, what it says, how strongly, and who says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..model import Axis, Modifier, Origin, Strength
from .guard import Guard, parse_guards
from .language import KINDS, AttributePath, Pattern, did_you_mean, parse_pattern, readable_paths

IDENTITY_REMOVED = "identity-removed"
DEFACED = "defaced"

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEYS = frozenset(
    {"id", "title", "attributes", "guard", "axis", "says", "strength", "source", "examples", *KINDS}
)
SAYS: Mapping[Axis, tuple[str, ...]] = {
    Axis.ORIGIN: (Origin.AI_DERIVED.value, Origin.AI_GENERATED.value, Origin.SIMULATED.value),
    Axis.PRIVACY: (IDENTITY_REMOVED, DEFACED),
    Axis.MODIFIER: tuple(modifier.value for modifier in Modifier),
}
Table = Mapping[str, Any]
_Choice = TypeVar("_Choice", Axis, Strength)


@dataclass(frozen=True, slots=True)
class Marker:
    """A catalogue entry. `match` and `no_match` are attribute tables: its examples.

    It matches where a value at one of `paths` fits `pattern` and all `guards` hold; then it `says` something
    on its `axis`.
    """

    id: str
    title: str
    paths: tuple[AttributePath, ...]
    pattern: Pattern
    guards: tuple[Guard, ...]
    axis: Axis
    says: str
    strength: Strength
    source: str
    match: tuple[Table, ...]
    no_match: tuple[Table, ...]


def parse_marker(entry: Table) -> Marker:
    """The marker that a `[[marker]]` table describes. Raises ValueError with a reason fit to be shown."""
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        close = did_you_mean(unknown[0], _KEYS)
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}{close}")
    axis = _choice(Axis, entry, "axis")
    says = text_of(entry, "says")
    if says not in SAYS[axis]:
        raise ValueError(
            f"says = {says!r} is nothing the axis {axis} knows; write one of {', '.join(SAYS[axis])}"
        )
    examples = entry.get("examples", {})
    if not isinstance(examples, dict) or set(examples) - {"match", "no_match"}:
        raise ValueError(
            "examples is no table of match and no_match; write examples.match and examples.no_match"
        )
    match, no_match = example_tables(examples, "match"), example_tables(examples, "no_match")
    if not match:
        raise ValueError("no example that matches; add examples.match with at least one attribute table")
    return Marker(
        id=_id(entry),
        title=text_of(entry, "title"),
        paths=readable_paths(entry.get("attributes")),
        pattern=_pattern(entry),
        guards=parse_guards(entry.get("guard", {})),
        axis=axis,
        says=says,
        strength=_choice(Strength, entry, "strength"),
        source=text_of(entry, "source"),
        match=match,
        no_match=no_match,
    )


def _id(entry: Table) -> str:
    found = text_of(entry, "id")
    if not _ID.fullmatch(found):
        raise ValueError(f"id = {found!r} fits no stamp; write at most 64 letters, digits, dots and dashes")
    return found


def text_of(entry: Table, key: str) -> str:
    """The text under `key`. Raises ValueError where it is missing or empty."""
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is missing; write {key} as a text that is not empty")
    return value


def _choice(kind: type[_Choice], entry: Table, key: str) -> _Choice:
    value = text_of(entry, key)
    try:
        return kind(value)
    except ValueError as problem:
        known = ", ".join(member.value for member in kind)
        raise ValueError(f"{key} = {value!r} is unknown; write one of {known}") from problem


def _pattern(entry: Table) -> Pattern:
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{len(kinds)} patterns; write exactly one of {', '.join(KINDS)}")
    return parse_pattern(kinds[0], entry[kinds[0]])


def example_tables(entry: Table, key: str) -> tuple[Table, ...]:
    """The attribute tables under `key`, none where it is missing. Raises ValueError for anything else."""
    tables = entry.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{key} is no list of attribute tables; write [{{ Manufacturer = … }}]")
    return tuple(tables)
