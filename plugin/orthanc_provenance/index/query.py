"""What can be asked of the index, and what hides at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .matching import EMPTY
from .record import INSTANCE_ATTRIBUTES, REQUEST_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from .released import NO_DATE, Kind, rank


class Level(StrEnum):
    """The levels of the DICOM hierarchy that are asked for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


COLUMNS = {
    **dict.fromkeys(STUDY_ATTRIBUTES, 0),
    "ModalitiesInStudy": 0,
    **dict.fromkeys(SERIES_ATTRIBUTES, 1),
    **dict.fromkeys(REQUEST_ATTRIBUTES, 1),
    **dict.fromkeys(INSTANCE_ATTRIBUTES, 2),
}
"""The matching keys, with the depth of their level: 0 for studies, 1 for series, 2 for instances."""

# A Sequence is matched by what is in it.
KEYS = frozenset(COLUMNS) - {"RequestAttributesSequence"}


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `matches` holds values by DICOM keyword, of which an empty one matches all.

    `provenance` holds, by kind, values of which one must apply to the study, series or instance; () is all.
    """

    level: Level
    matches: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    limit: int = 100
    offset: int = 0

    def requests(self) -> list[str]:
        """The keys that one Item of Request Attributes Sequence must meet."""
        return [keyword for keyword in REQUEST_ATTRIBUTES if self.matches.get(keyword)]

    def ranks(self) -> tuple[int, int] | None:
        """The ranks from and to which studies with the Study Date that is asked for lie; None for all."""
        value = self.matches.get("StudyDate", "")
        if not value or value == EMPTY or "\\" in value:
            return None
        low, dash, high = value.partition("-")
        return rank(high if dash else low) if high or not dash else 0, rank(low) if low else NO_DATE


class Released(NamedTuple):
    """An instance that a route may let out. Of a large study there are thousands before the first byte."""

    instance: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


class Hidden(NamedTuple):
    """What is in the index and does not exist for now.

    `closed` are studies by the number of their row in `released`, `held` instances by Orthanc identifier, and
    `studies` the numbers of the studies that these belong to. `unsettled` where there are too many studies
    that are not settled for them to be in `closed`.
    """

    closed: list[int]
    held: list[str]
    studies: list[int]
    unsettled: bool
