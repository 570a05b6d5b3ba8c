"""One entry of the catalogue: where to look, what for, what it says, how strongly, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..model import Axis, Modifier, Origin, Strength
from .language import AttributePath, Pattern, parse_paths, parse_pattern, refuse_identifying

KINDS = ("equals", "token", "prefix", "regex", "code", "present")
IDENTITY_REMOVED = "identity-removed"
DEFACED = "defaced"

_KEYS = frozenset(
    {"id", "title", "attributes", "guard", "axis", "says", "strength", "source", "examples", *KINDS}
)
_SAYS = {
    Axis.ORIGIN: (Origin.AI_DERIVED.value, Origin.AI_GENERATED.value, Origin.SIMULATED.value),
    Axis.PRIVACY: (IDENTITY_REMOVED, DEFACED),
    Axis.MODIFIER: tuple(modifier.value for modifier in Modifier),
}
_GUARD_SHORTHANDS = {
    "modality": ("Modality", "equals"),
    "manufacturer": ("Manufacturer", "token"),
    "sop_class": ("SOPClassUID", "equals"),
}

Table = Mapping[str, Any]
_Choice = TypeVar("_Choice", Axis, Strength)


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on another attribute, without which a marker says nothing."""

    paths: tuple[AttributePath, ...]
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Marker:
    """A catalogue entry. `match` and `no_match` are attribute tables: its examples."""

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
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    axis = _choice(Axis, entry, "axis")
    says = _text(entry, "says")
    if says not in _SAYS[axis]:
        raise ValueError(
            f"says = {says!r} is nothing the axis {axis} knows; write one of {', '.join(_SAYS[axis])}"
        )
    examples = entry.get("examples", {})
    match, no_match = _examples(examples, "match"), _examples(examples, "no_match")
    if not match:
        raise ValueError("no example that matches; add examples.match with at least one attribute table")
    return Marker(
        id=_text(entry, "id"),
        title=_text(entry, "title"),
        paths=_paths(entry.get("attributes")),
        pattern=_pattern(entry),
        guards=_guards(entry.get("guard", {})),
        axis=axis,
        says=says,
        strength=_choice(Strength, entry, "strength"),
        source=_text(entry, "source"),
        match=match,
        no_match=no_match,
    )


def _text(entry: Table, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is missing; write {key} as a text that is not empty")
    return value


def _choice(kind: type[_Choice], entry: Table, key: str) -> _Choice:
    value = _text(entry, key)
    try:
        return kind(value)
    except ValueError as problem:
        known = ", ".join(member.value for member in kind)
        raise ValueError(f"{key} = {value!r} is unknown; write one of {known}") from problem


def _paths(value: object) -> tuple[AttributePath, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("attributes must be a path or a list of paths, such as Manufacturer")
    paths = tuple(path for text in texts for path in parse_paths(text))
    for path in paths:
        refuse_identifying(path)
    return paths


def _pattern(entry: Table) -> Pattern:
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{len(kinds)} patterns; write exactly one of {', '.join(KINDS)}")
    return parse_pattern(kinds[0], entry[kinds[0]])


def _guards(value: object) -> tuple[Guard, ...]:
    if not isinstance(value, dict):
        raise ValueError("guard must be a table")
    guards = []
    for key, condition in value.items():
        if key in _GUARD_SHORTHANDS:
            path, kind = _GUARD_SHORTHANDS[key]
            guards.append(Guard(parse_paths(path), parse_pattern(kind, condition)))
        elif key == "attributes" and isinstance(condition, list):
            guards.extend(Guard(_paths(other.get("attribute")), _pattern(other)) for other in condition)
        else:
            raise ValueError(
                f"unknown guard {key!r}; known are modality, manufacturer, sop_class, and attributes (tables"
                " of attribute and one pattern)"
            )
    return tuple(guards)


def _examples(examples: object, key: str) -> tuple[Table, ...]:
    tables = examples.get(key, []) if isinstance(examples, dict) else None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"examples.{key} must be a list of attribute tables")
    return tuple(tables)
