"""Finding the catalogue's markers in a header: one pass over the attributes that both have.

Sequences are walked along the paths that markers name and no further, so that words in unrelated places
(`IEC Body Dosimetry Phantom`) are never met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..dicom.dataset import Dataset, tag_name
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Evidence
from .language import AttributePath, Step
from .marker import Guard, Marker
from .plan import Column, Plan, values

if TYPE_CHECKING:
    from .catalogue import Catalogue

GATEWAY = "orthanc-provenance"
"""Manufacturer of our own Contributing Equipment Item, which is no evidence of anything but our passage."""

MAX_VALUE = 128
_MAX_VISITED = 512
_MANUFACTURER = 0x00080070
_CONTRIBUTING_EQUIPMENT = 0x0018A001
_PER_FRAME_GROUPS = 0x52009230


class _Place(NamedTuple):
    """Where a path has led: the Data Set that holds the element, its tag, and the way there."""

    dataset: Dataset
    tag: Tag
    way: str


def match(catalogue: Catalogue, header: Header) -> tuple[Evidence, ...]:
    """All markers of `catalogue` that match in `header`, in the order of their ids, each once per attribute.

    What cannot be decoded matches nothing. Raises HeaderTooLarge.
    """
    return match_plan(catalogue.plan, header)


def match_plan(plan: Plan, header: Header) -> tuple[Evidence, ...]:
    """`match` for the markers of a compiled plan."""
    found: dict[tuple[str, str], Evidence] = {}
    for column, place in _places(plan, header):
        for index, marker, value in column.hits(place.dataset, place.tag):
            key = (marker.id, column.path.text)
            if key not in found and all(_holds(guard, header) for guard in marker.guards):
                found[key] = _evidence(marker, column.path, place, index, value)
    return tuple(found[key] for key in sorted(found))


def _places(plan: Plan, header: Header) -> Iterator[tuple[Column, _Place]]:
    elements = header.elements
    for tag in plan.direct.keys() & elements.keys():
        yield plan.direct[tag], _Place(header, tag, "")
    for tag in plan.nested.keys() & elements.keys():
        for column in plan.nested[tag]:
            for place in _walk(header, column.path.steps):
                yield column, place
    for creator in elements:
        # A Private Creator is (gggg,0010-00FF) of an odd group; most of them interest no marker.
        if creator & 0x1FF00 == 0x10000 and creator >> 16 in plan.private_groups:
            block = (creator >> 16, header.text(creator).upper())
            for column in plan.private.get(block, ()):
                tag = column.path.steps[0].tag | (creator & 0xFF) << 8
                if tag in elements:
                    yield column, _Place(header, tag, "")
    if plan.meta and (meta := header.meta) is not None:
        for tag in plan.meta.keys() & meta.elements.keys():
            yield plan.meta[tag], _Place(meta, tag, "")


def _walk(header: Header, steps: tuple[Step, ...]) -> Iterator[_Place]:
    """All places that `steps` lead to, visiting at most 512 Data Sets and of frames only the first."""
    waiting: list[tuple[Dataset, int, str]] = [(header, 0, "")]
    for _ in range(_MAX_VISITED):
        if not waiting:
            return
        dataset, depth, way = waiting.pop()
        step = steps[depth]
        tag = step.tag
        if step.creator:
            tag = dataset.private(step.creator, tag >> 16, tag & 0xFF) or -1
        if tag not in dataset:
            continue
        if depth == len(steps) - 1:
            yield _Place(dataset, tag, way)
            continue
        limit = 1 if tag == _PER_FRAME_GROUPS else _MAX_VISITED
        items = enumerate(dataset.items(tag, limit), 1)
        below = [
            (item, depth + 1, f"{way}{tag_name(tag)}[{number}]>")
            for number, item in items
            if tag != _CONTRIBUTING_EQUIPMENT or item.text(_MANUFACTURER) != GATEWAY
        ]
        waiting.extend(reversed(below))


def _holds(guard: Guard, header: Header) -> bool:
    return any(
        guard.pattern.find(value) is not None
        for path in guard.paths
        for place in _walk(header, path.steps)
        for value in values(path, place.dataset, place.tag)
        if value
    )


def _evidence(marker: Marker, path: AttributePath, place: _Place, index: int, value: str) -> Evidence:
    item = f"[{index}]" if path.is_sequence else ""
    return Evidence(
        marker=marker.id,
        attribute=f"{place.way}{tag_name(place.tag)}{item}",
        value="".join(letter if letter.isprintable() else "?" for letter in value[:MAX_VALUE]),
        axis=marker.axis,
        says=marker.says,
        strength=marker.strength,
    )
