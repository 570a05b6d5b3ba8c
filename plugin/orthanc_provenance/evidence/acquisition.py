"""Positive acquisition evidence: what real equipment of a modality writes about how it acquired.

The rules are data, `acquisition.toml`, which says what they are made of. They survive de-identification,
which leaves physics alone; a converted volume has none of it. Headers can be forged: this tells what lies
under an honest object, not who is honest.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import pydicom.uid
from pydicom.datadict import tag_for_keyword

from ..dicom.dataset import Dataset, tag_name
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Axis, Evidence, Origin, Strength
from .guard import Guard, parse_guards
from .matcher import holds
from .sources import has_sources

_FILE = "acquisition.toml"
_SOP_CLASS = 0x00080016
_MODALITY = 0x00080060
_STANDARD = "1.2.840.10008."
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)
_MAX_MACROS = 64
_MAX_INSIDE = 8
_MAX_VALUE = 128
_FEWEST_SEQUENCE_BYTES = 8
# Not evidence: zero in any notation, and what toolkits write where nothing is known.
_ZEROS = b" \0\\0.+-E"
_PLACEHOLDERS = frozenset({b"NONE", b"UNKNOWN", b"NA", b"N/A", b"RM", b"UNDEFINED", b"NOT AVAILABLE"})
_NO_VALUES: frozenset[bytes] = frozenset()

Table = Mapping[str, Any]


class Group(NamedTuple):
    """Attributes of which one must have a value; each alternative is attributes that must have one together.

    What is no physics is context, which alone never shows an acquisition, and whose values are not repeated
    in evidence.
    """

    name: str
    is_physics: bool
    alternatives: tuple[tuple[Tag, ...], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """The groups of one modality, those of physics first, and how many must hold in objects of `sop_classes`.

    `inside` are Sequences that are looked into as well, by the tags that lead there; `values` what an
    attribute may have where not every value counts; `guards`, `same` and `unsourced` what must be so besides.
    """

    id: str
    title: str
    source: str
    sop_classes: tuple[str, ...]
    groups: tuple[Group, ...]
    needs: int
    needs_physics: int
    inside: tuple[tuple[Tag, ...], ...] = ()
    values: Mapping[Tag, frozenset[bytes]] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    same: tuple[tuple[Tag, Tag], ...] = ()
    unsourced: bool = False

    def admits(self, header: Header) -> bool:
        """Whether the rule speaks about the object with `header` at all, besides its SOP class."""
        return (
            all(holds(guard, header) for guard in self.guards)
            and not any(_differ(header.text(one), header.text(other)) for one, other in self.same)
            and not (self.unsourced and has_sources(header))
        )

    def evidence(self, places: list[Dataset]) -> tuple[Evidence, ...]:
        """The groups that hold in `places`, as many as are needed; () where they are too few."""
        found: list[Evidence] = []
        physics = 0
        for group in self.groups:
            if not group.is_physics and physics < self.needs_physics:
                break
            place = self._first_to_hold(group, places)
            if place is not None:
                found.append(_evidence(self.id, group, *place))
                physics += group.is_physics
                if len(found) >= self.needs and physics >= self.needs_physics:
                    return tuple(found)
        return ()

    def _first_to_hold(self, group: Group, places: list[Dataset]) -> tuple[Dataset, Tag] | None:
        """Where the first attribute of the first alternative of `group` stands that holds in `places`."""
        for alternative in group.alternatives:
            first: Dataset | None = None
            for tag in alternative:
                place = self._place(tag, places)
                if place is None:
                    break
                first = first or place
            else:
                if first is not None:
                    return first, alternative[0]
        return None

    def _place(self, tag: Tag, places: list[Dataset]) -> Dataset | None:
        values = self.values.get(tag, _NO_VALUES)
        for place in places:
            if tag in place.elements and _has_value(place, tag, values):
                return place
        return None


class Acquisition:
    """All rules, by SOP class; `classes` are those of objects of a Modality that name no standard one."""

    def __init__(self, rules: tuple[Rule, ...], table: Table, classes: Mapping[str, str]) -> None:
        self.rules = rules
        self.table = table
        self._classes = classes
        self._by_class = {
            uid: tuple(rule for rule in rules if uid in rule.sop_classes)
            for uid in {uid for rule in rules for uid in rule.sop_classes}
        }

    def evidence(self, header: Header) -> tuple[Evidence, ...]:
        """The groups that show an acquisition, as many as a rule needs; () where they are too few.

        Enhanced multi-frame objects keep them in functional groups (PS3.3 section C.7.6.16): those shared by
        all frames, and of the first frame, are looked at too. Raises HeaderTooLarge.
        """
        for rule in self._by_class.get(self._sop_class(header), ()):
            if not rule.admits(header):
                continue
            for places in _places(header, rule.inside):
                if found := rule.evidence(places):
                    return found
        return ()

    def _sop_class(self, header: Header) -> str:
        """The SOP class of the object, that of its Modality where it names none or a vendor's own."""
        uid = header.text(_SOP_CLASS)
        if uid.startswith(_STANDARD):
            return uid
        return self._classes.get(header.text(_MODALITY).upper(), uid)


@cache
def shipped_acquisition() -> Acquisition:
    """The rules of the package. Raises ValueError with file, rule and reason where they are wrong."""
    text = (resources.files(__package__) / _FILE).read_text(encoding="utf-8")
    return parse_acquisition(tomllib.loads(text))


def parse_acquisition(table: Table) -> Acquisition:
    """The rules in `table`, as `acquisition.toml` has them. Raises ValueError with rule and reason."""
    shared = table.get("shared", {})
    rules = []
    for entry in table["rule"]:
        try:
            rules.append(_parse_rule(entry, shared))
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"{_FILE}, rule {entry.get('id', '?')}: {problem}") from problem
    classes = {modality: _uid(name) for modality, name in table.get("modality", {}).items()}
    return Acquisition(tuple(rules), table, classes)


_KEYS = frozenset(
    {"id", "title", "source", "sop_classes", "needs", "shared", "physics", "context", "inside", "values"}
    | {"guard", "same", "unsourced"}
)


def _parse_rule(entry: Table, shared: Table) -> Rule:
    if unknown := sorted(set(entry) - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    context = {name: shared[name] for name in entry.get("shared", ())} | entry.get("context", {})
    groups = (
        *(_group(name, True, listed) for name, listed in entry["physics"].items()),
        *(_group(name, False, listed) for name, listed in context.items()),
    )
    needs, physics = entry["needs"]["groups"], entry["needs"]["physics"]
    if not 1 <= physics <= needs <= len(groups):
        raise ValueError(f"{len(groups)} groups cannot hold {needs}, {physics} of them of physics")
    return Rule(
        id=entry["id"],
        title=entry["title"],
        source=entry["source"],
        sop_classes=tuple(_uid(name) for name in entry["sop_classes"]),
        groups=groups,
        needs=needs,
        needs_physics=physics,
        inside=tuple(_tags(way, ">") for way in entry.get("inside", ())),
        values={
            _tag(keyword): frozenset(value.encode() for value in listed)
            for keyword, listed in entry.get("values", {}).items()
        },
        guards=parse_guards(entry.get("guard", {})),
        same=tuple((tags[0], tags[-1]) for tags in (_tags(pair, "=") for pair in entry.get("same", ()))),
        unsourced=entry.get("unsourced", False),
    )


def _group(name: str, is_physics: bool, alternatives: list[str]) -> Group:
    return Group(name, is_physics, tuple(_tags(alternative, "+") for alternative in alternatives))


def _tags(text: str, separator: str) -> tuple[Tag, ...]:
    return tuple(_tag(keyword.strip()) for keyword in text.split(separator))


def _tag(keyword: str) -> Tag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no keyword of PS3.6 that this version of pydicom knows")
    return tag


def _uid(name: str) -> str:
    """The UID of a SOP class by its keyword; the retired ones are written as UIDs."""
    uid = name if name[:1].isdigit() else getattr(pydicom.uid, name, None)
    if not isinstance(uid, str):
        raise ValueError(f"{name!r} is no SOP class that this version of pydicom knows")
    return str(uid)


def _places(header: Header, inside: tuple[tuple[Tag, ...], ...]) -> Iterator[list[Dataset]]:
    """Where to look: the top level, and then the Items of Sequences with it."""
    yield [header]
    items: list[Dataset] = [header]
    for way in inside:
        reached: list[Dataset] = [header]
        for tag in way:
            reached = [item for place in reached for item in place.items(tag, _MAX_INSIDE)][:_MAX_INSIDE]
        items.extend(reached)
    for groups in _FUNCTIONAL_GROUPS:
        if groups in header:
            for item in header.items(groups, 1):
                for tag in list(item.elements)[:_MAX_MACROS]:
                    items.extend(item.items(tag, 1))
    if len(items) > 1:
        yield items


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one.casefold() != other.casefold()


def _has_value(dataset: Dataset, tag: Tag, values: frozenset[bytes]) -> bool:
    element = dataset.elements[tag]
    if element.undefined or element.vr == b"SQ":
        return element.end - element.value > _FEWEST_SEQUENCE_BYTES
    value = dataset.buffer[element.value : min(element.end, element.value + _MAX_VALUE)].strip(b" \0").upper()
    if values:
        return value in values
    return bool(value.strip(_ZEROS)) and value not in _PLACEHOLDERS


def _evidence(rule: str, group: Group, place: Dataset, tag: Tag) -> Evidence:
    text = place.raw(tag)[:_MAX_VALUE].strip(b" \0").decode("ascii", "replace") if group.is_physics else ""
    value = text if text.isascii() and text.isprintable() and text else "present"
    return Evidence(rule, tag_name(tag), value, Axis.ORIGIN, Origin.ACQUIRED.value, Strength.EQUIPMENT)
