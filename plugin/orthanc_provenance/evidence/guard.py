"""Guards of a catalogue entry: what must be so elsewhere in the object for its marker to speak.

In a marker file, under the key `guard`:

* `modality`, `manufacturer` (whole words), `sop_class`: a text or a list of texts of which one must fit
* `content`     `"results"`: segmentations, reports, annotations, maps, plans, and captures, which hold what
                was found in images or shown of them, and are none that a scanner takes (PS3.4 section B.5)
* `attributes`  a list of conditions, each of which must hold
* `unless`      a list of conditions, of which none may hold; `{ all = [...] }` joins several into one

A condition is a table of `attribute` (a path, or a list of which one suffices) and one pattern, or
`absent = true` where no value may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .language import (
    KINDS,
    AttributePath,
    Pattern,
    did_you_mean,
    parse_paths,
    parse_pattern,
    readable_paths,
)

ABSENT = "absent"
_SHORTHANDS = {
    "modality": ("Modality", "equals"),
    "manufacturer": ("Manufacturer", "token"),
    "sop_class": ("SOPClassUID", "equals"),
}
# Without a SOP class the modality tells.
_CONTENTS = {
    "results": (
        ["SOPClassUID", "Modality"],
        r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.(7$|7\.[1-4]$|11\.\d|30$|66\.[4-7]$|67$|88\.\d|104\.\d|481\.3$)"
        r"|^(SEG|SR|RTSTRUCT|PR|KO)$",
    ),
}
_KEYS = (*_SHORTHANDS, "content", "attributes", "unless")

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of attributes: that a value fits `pattern`, or without one that there is no value."""

    paths: tuple[AttributePath, ...]
    pattern: Pattern | None

    @property
    def text(self) -> str:
        """The condition as a person reads it: `Manufacturer token GE or GE HEALTHCARE`."""
        where = " or ".join(path.text for path in self.paths)
        if self.pattern is None:
            return f"{where} {ABSENT}"
        return f"{where} {self.pattern.kind} {' or '.join(self.pattern.words)}".rstrip()


@dataclass(frozen=True, slots=True)
class Guard:
    """Conditions that must all hold, or with `negated` must not all hold, for a marker to say anything."""

    conditions: tuple[Condition, ...]
    negated: bool = False

    @property
    def text(self) -> str:
        """The guard as a person reads it."""
        text = " and ".join(condition.text for condition in self.conditions)
        return f"unless {text}" if self.negated else text


def parse_guards(value: object) -> tuple[Guard, ...]:
    """The guards of a marker file's `guard` table. Raises ValueError with a reason fit to be shown."""
    if not isinstance(value, dict):
        raise ValueError('guard must be a table; write guard.modality = "CT", for example')
    guards: list[Guard] = []
    for key, found in value.items():
        if key in _SHORTHANDS:
            path, kind = _SHORTHANDS[key]
            guards.append(Guard((Condition(parse_paths(path), parse_pattern(kind, found)),)))
        elif key == "content":
            guards.append(Guard((_content(found),)))
        elif key == "attributes":
            guards.extend(Guard((_condition(table),)) for table in _tables(key, found))
        elif key == "unless":
            guards.extend(Guard(_joined(table), negated=True) for table in _tables(key, found))
        else:
            raise ValueError(f"unknown guard {key!r}; known are {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}")
    return tuple(guards)


def _content(value: object) -> Condition:
    if not isinstance(value, str) or value not in _CONTENTS:
        raise ValueError(f"guard.content is {value!r}; known is {', '.join(_CONTENTS)}")
    attributes, expression = _CONTENTS[value]
    return Condition(readable_paths(attributes), parse_pattern("regex", expression))


def _tables(key: str, value: object) -> list[Table]:
    if not isinstance(value, list) or not value or not all(isinstance(table, dict) for table in value):
        raise ValueError(f"guard.{key} is no list of tables; write [{{ attribute = …, and one pattern }}]")
    return value


def _joined(table: Table) -> tuple[Condition, ...]:
    if set(table) == {"all"}:
        return tuple(_condition(part) for part in _tables("unless.all", table["all"]))
    return (_condition(table),)


def _condition(table: Table) -> Condition:
    known = (*KINDS, ABSENT)
    unknown = sorted(set(table) - {"attribute", *known})
    if unknown:
        close = did_you_mean(unknown[0], ("attribute", *known))
        raise ValueError(
            f"unknown key {unknown[0]!r} in a guard; known are attribute, {', '.join(known)}{close}"
        )
    kinds = [kind for kind in known if kind in table]
    if len(kinds) != 1:
        raise ValueError(f"{len(kinds)} patterns in a guard; write exactly one of {', '.join(known)}")
    paths = readable_paths(table.get("attribute"))
    if kinds == [ABSENT]:
        if table[ABSENT] is not True:
            raise ValueError(f"{ABSENT} can only be true; leave the condition out, or write present = true")
        return Condition(paths, None)
    return Condition(paths, parse_pattern(kinds[0], table[kinds[0]]))
