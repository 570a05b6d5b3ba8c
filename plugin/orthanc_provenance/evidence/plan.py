"""The catalogue turned around: which markers look at which attribute, so that each is decoded once.

Values repeat from instance to instance of a series. What an attribute's markers find in a value depends on
nothing but the value, and is remembered for the last few hundred of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from ..dicom.dataset import Dataset
from ..dicom.scan import Tag
from .language import AttributePath, Step
from .marker import Marker

_REMEMBERED = 256
_LONGEST_REMEMBERED = 512
_MAX_VALUES = 64
_MAX_ITEMS = 256
_CODE_VALUES = (0x00080100, 0x00080119, 0x00080120)
_CODING_SCHEME = 0x00080102

Hit = tuple[int, Marker, str]
"""A marker that matched: the index of the value or Item, the marker, and the part of the value that fits."""


class Column:
    """One attribute path and all markers that look there."""

    __slots__ = ("_is_sequence", "_remember", "_remember_raw", "markers", "path")

    def __init__(self, path: AttributePath, markers: tuple[Marker, ...]) -> None:
        self.path = path
        self.markers = markers
        self._is_sequence = path.is_sequence
        self._remember: Callable[[tuple[str, ...]], tuple[Hit, ...]] = lru_cache(_REMEMBERED)(self._search)
        self._remember_raw: Callable[[bytes], tuple[Hit, ...]] = lru_cache(_REMEMBERED)(self._hits_in_ascii)

    def hits(self, dataset: Dataset, tag: Tag) -> tuple[Hit, ...]:
        """The markers that match in the element `tag` of `dataset`, which the path has led to."""
        if not self._is_sequence:
            raw = dataset.raw(tag)
            if not raw:
                return ()
            if len(raw) <= _LONGEST_REMEMBERED and raw.isascii() and b"\x1b" not in raw:
                return self._remember_raw(raw)
        found = values(self.path, dataset, tag)
        return self._remember(found) if sum(map(len, found)) <= _LONGEST_REMEMBERED else self._search(found)

    def _hits_in_ascii(self, raw: bytes) -> tuple[Hit, ...]:
        text = raw.decode("ascii")
        parts = [text] if self.path.is_long_text else text.split("\\")
        return self._search(tuple(part.strip(" \0") for part in parts))

    def _search(self, values: tuple[str, ...]) -> tuple[Hit, ...]:
        return tuple(
            (index, marker, found)
            for index, value in enumerate(values[:_MAX_VALUES], 1)
            if value
            for marker in self.markers
            if (found := marker.pattern.find(value)) is not None
        )


def values(path: AttributePath, dataset: Dataset, tag: Tag) -> tuple[str, ...]:
    """The values, or the codes of the Items, of the element `tag` of `dataset`, which `path` has led to."""
    if path.is_sequence:
        return item_codes(dataset, tag)
    return (dataset.whole_text(tag),) if path.is_long_text else dataset.texts(tag)


def item_codes(dataset: Dataset, tag: Tag) -> tuple[str, ...]:
    """Each Item of a Sequence as `SCHEME:VALUE`, or as `item` where it is no code (PS3.3 section 8)."""
    codes = []
    for item in dataset.items(tag, _MAX_ITEMS):
        value = next((text for code in _CODE_VALUES if (text := item.text(code))), "")
        codes.append(f"{item.text(_CODING_SCHEME)}:{value}" if value else "item")
    return tuple(codes)


class Branch:
    """What markers look at in one Data Set: the columns that end there, and the Sequences that they enter."""

    __slots__ = ("columns", "sequences")

    def __init__(self) -> None:
        self.columns: list[tuple[Step, Column]] = []
        self.sequences: dict[Step, Branch] = {}

    def add(self, column: Column, depth: int = 0) -> None:
        """Put `column` at the end of its path, of which `depth` steps lead to this branch."""
        branch = self
        for step in column.path.steps[depth:-1]:
            branch = branch.sequences.setdefault(step, Branch())
        branch.columns.append((column.path.steps[-1], column))


@dataclass(frozen=True, slots=True)
class Plan:
    """Columns by how they are reached: directly, in the file meta information, by creator, through Items."""

    direct: dict[Tag, Column]
    meta: dict[Tag, Column]
    private: dict[tuple[int, str], tuple[Column, ...]]
    nested: dict[Tag, Branch]
    private_nested: tuple[tuple[Step, Branch], ...]
    private_groups: frozenset[int]

    @classmethod
    def of(cls, markers: Iterable[Marker]) -> Plan:
        """The plan for `markers`, in their order."""
        direct: dict[Tag, Column] = {}
        meta: dict[Tag, Column] = {}
        private: dict[tuple[int, str], list[Column]] = {}
        nested: dict[Step, Branch] = {}
        for column in _columns(markers):
            first = column.path.steps[0]
            if len(column.path.steps) > 1:
                nested.setdefault(first, Branch()).add(column, depth=1)
            elif first.creator:
                private.setdefault((first.tag >> 16, first.creator), []).append(column)
            else:
                (meta if first.tag >> 16 == 0x0002 else direct)[first.tag] = column
        return cls(
            direct=direct,
            meta=meta,
            private={block: tuple(found) for block, found in private.items()},
            nested={step.tag: branch for step, branch in nested.items() if not step.creator},
            private_nested=tuple((step, branch) for step, branch in nested.items() if step.creator),
            private_groups=frozenset(group for group, _ in private),
        )


class HasPlan(Protocol):
    """Whatever has a compiled plan: the catalogue."""

    @property
    def plan(self) -> Plan:
        """Its markers, grouped by attribute."""
        ...


def _columns(markers: Iterable[Marker]) -> list[Column]:
    by_path: dict[tuple[object, ...], tuple[AttributePath, list[Marker]]] = {}
    for marker in markers:
        for path in marker.paths:
            found = by_path.setdefault(path.steps, (path, []))[1]
            if marker not in found:
                found.append(marker)
    return [Column(path, tuple(found)) for path, found in by_path.values()]
