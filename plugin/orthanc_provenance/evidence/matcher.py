"""Finding the catalogue's markers in a header: one pass over the attributes that both have.

Sequences are walked along the paths that markers name and no further, so that words in unrelated places
(`IEC Body Dosimetry Phantom`) are never met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..dicom.dataset import Dataset, tag_name
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Evidence, Strength
from .guard import Condition, Guard
from .language import AttributePath, Step
from .plan import Branch, Column, HasPlan, Hit, Plan, values
from .purpose import MODIFYING, heard, purposes_of

GATEWAY = "orthanc-provenance"
"""Manufacturer of our own Item of Modifying Equipment, which is no evidence of anything but our passage."""

MAX_VALUE = 128
_MAX_VISITED = 1024
_MANUFACTURER = 0x00080070
_CONTRIBUTING_EQUIPMENT = 0x0018A001
_PER_FRAME_GROUPS = 0x52009230


class Place(NamedTuple):
    """Where a path has led: the Data Set that holds the element, its tag, and the way there.

    `purposes` are those of the Item of Contributing Equipment on the way, if there is one.
    """

    dataset: Dataset
    tag: Tag
    way: str
    purposes: frozenset[str] = frozenset()


def match(catalogue: HasPlan, header: Header) -> tuple[Evidence, ...]:
    """All markers of `catalogue` that match in `header`, in the order of their ids, each once per attribute.

    What cannot be decoded matches nothing. Raises HeaderTooLarge.
    """
    return match_plan(catalogue.plan, header)


def match_plan(plan: Plan, header: Header) -> tuple[Evidence, ...]:
    """`match` for the markers of a compiled plan."""
    found: dict[tuple[str, str], Evidence] = {}
    for column, place, hits in patterns_found(plan, header):
        for hit in hits:
            marker = hit[1]
            key = (marker.id, column.path.text)
            strength = heard(marker, place.purposes)
            # The same name may be words in one Item and more in the next.
            if strength is None or (key in found and found[key].strength is not Strength.TEXT):
                continue
            if (key not in found or strength is not Strength.TEXT) and all(
                holds(guard, header) for guard in marker.guards
            ):
                found[key] = evidence(column.path, place, hit)
    return tuple(found[key] for key in sorted(found))


def patterns_found(plan: Plan, header: Header) -> Iterator[tuple[Column, Place, tuple[Hit, ...]]]:
    """Where in `header` patterns of the markers in `plan` are found, whatever their guards say."""
    elements = header.elements
    for tag in plan.direct.keys() & elements.keys():
        if hits := plan.direct[tag].hits(header, tag):
            yield plan.direct[tag], Place(header, tag, ""), hits
    for tag, branch in _branches(plan, header):
        for column, place in _walk_branch(header, tag, branch):
            if hits := column.hits(place.dataset, place.tag):
                yield column, place, hits
    for column, tag in _private(plan, header):
        if hits := column.hits(header, tag):
            yield column, Place(header, tag, ""), hits
    if plan.meta and (meta := header.meta) is not None:
        for tag in plan.meta.keys() & meta.elements.keys():
            if hits := plan.meta[tag].hits(meta, tag):
                yield plan.meta[tag], Place(meta, tag, ""), hits


def _private(plan: Plan, header: Header) -> Iterator[tuple[Column, Tag]]:
    """The private elements that columns look at, by the creators of their blocks (PS3.5 section 7.8.1)."""
    elements = header.elements
    for creator in header.private_creators:
        if creator >> 16 in plan.private_groups:
            block = (creator >> 16, header.text(creator).upper())
            for column in plan.private.get(block, ()):
                tag = column.path.steps[0].tag | (creator & 0xFF) << 8
                if tag in elements:
                    yield column, tag


def _branches(plan: Plan, header: Header) -> Iterator[tuple[Tag, Branch]]:
    """The Sequences of the top level that paths of columns enter."""
    for tag in plan.nested.keys() & header.elements.keys():
        yield tag, plan.nested[tag]
    for step, branch in plan.private_nested:
        if (tag := _tag_of(step, header)) in header.elements:
            yield tag, branch


def _walk_branch(header: Header, tag: Tag, branch: Branch) -> Iterator[tuple[Column, Place]]:
    """All places in the Sequence `tag` that columns look at, visiting at most 1,024 Items."""
    equipment = tag == _CONTRIBUTING_EQUIPMENT
    waiting = [
        (item, branch, way, purposes_of(item) if equipment else frozenset())
        for item, way in _items(header, tag, "")
    ]
    for _ in range(_MAX_VISITED):
        if not waiting:
            return
        dataset, branch, way, purposes = waiting.pop()
        for step, column in branch.columns:
            if (found := _tag_of(step, dataset)) in dataset.elements:
                yield column, Place(dataset, found, way, purposes)
        for step, below in branch.sequences.items():
            if (found := _tag_of(step, dataset)) in dataset.elements:
                waiting.extend(
                    (item, below, onward, purposes) for item, onward in _items(dataset, found, way)
                )


def _walk(header: Header, steps: tuple[Step, ...]) -> Iterator[Place]:
    """All places that `steps` lead to, visiting at most 1,024 Data Sets."""
    waiting: list[tuple[Dataset, int, str]] = [(header, 0, "")]
    for _ in range(_MAX_VISITED):
        if not waiting:
            return
        dataset, depth, way = waiting.pop()
        tag = _tag_of(steps[depth], dataset)
        if tag not in dataset.elements:
            continue
        if depth == len(steps) - 1:
            yield Place(dataset, tag, way)
        else:
            waiting.extend((item, depth + 1, onward) for item, onward in _items(dataset, tag, way))


def _tag_of(step: Step, dataset: Dataset) -> Tag:
    """The tag of `step` in `dataset`, one that no element has where a private block is not reserved there."""
    if not step.creator:
        return step.tag
    return dataset.private(step.creator, step.tag >> 16, step.tag & 0xFF) or -1


def _items(dataset: Dataset, tag: Tag, way: str) -> list[tuple[Dataset, str]]:
    """The Items of the Sequence `tag` and the ways there, the last one first; of frames only the first."""
    limit = 1 if tag == _PER_FRAME_GROUPS else _MAX_VISITED
    found = [
        (item, f"{way}{tag_name(tag)}[{number}]>")
        for number, item in enumerate(dataset.items(tag, limit), 1)
        if tag != _CONTRIBUTING_EQUIPMENT or not _is_our_passage(item)
    ]
    found.reverse()
    return found


def _is_our_passage(item: Dataset) -> bool:
    """Whether an Item of Contributing Equipment is the one that we stamp. Under our name alone, others may
    say what they like of how the object was made: that is heard."""
    return item.text(_MANUFACTURER) == GATEWAY and purposes_of(item) == {MODIFYING}


def holds(guard: Guard, header: Header) -> bool:
    """Whether the attributes that `guard` asks about are as it says."""
    return all(_is_met(condition, header) for condition in guard.conditions) is not guard.negated


def _is_met(condition: Condition, header: Header) -> bool:
    found = values_at(condition.paths, header)
    pattern = condition.pattern
    if pattern is None:
        return next(found, None) is None
    return any(pattern.find(value) is not None for value in found)


def values_at(paths: tuple[AttributePath, ...], header: Header) -> Iterator[str]:
    """The values that `paths` lead to, without empty ones."""
    return (
        value
        for path in paths
        for place in _walk(header, path.steps)
        for value in values(path, place.dataset, place.tag)
        if value
    )


def evidence(path: AttributePath, place: Place, hit: Hit) -> Evidence:
    """What `hit` is in the words of the model; of the value, 128 printable characters."""
    index, marker, value = hit
    item = f"[{index}]" if path.is_sequence else ""
    strength = heard(marker, place.purposes)
    return Evidence(
        marker=marker.id,
        attribute=f"{place.way}{tag_name(place.tag)}{item}",
        value=quoted(value),
        axis=marker.axis,
        says=marker.says,
        strength=strength or marker.strength,
    )


def quoted(value: str) -> str:
    """`value` as evidence quotes it: printable, and at most 128 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:MAX_VALUE])
