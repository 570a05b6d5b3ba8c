"""Questions to the index, as a research route may ask them: only what its verdict releases exists.

Matching follows PS3.4 section C.2.2.2: single value, list of UIDs, wildcard, range; an empty key matches all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, FromClause, Select, and_, distinct, func, select

from ..model import State, Verdict
from .record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from .schema import instances, query, series, studies, verdicts


class Level(StrEnum):
    """The levels of the DICOM hierarchy that are asked for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `matches` holds values by DICOM keyword; () of `states` and None of `synthetic` match all.

    `synthetic` False asks for studies, series or instances without any synthetic content that may be seen.
    """

    level: Level
    matches: Mapping[str, str] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    synthetic: bool | None = None
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """An instance that a route may let out."""

    instance: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


_LEVELS = {
    Level.STUDY: ("studies",),
    Level.SERIES: ("studies", "series"),
    Level.INSTANCE: ("studies", "series", "instances"),
}
_UID = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
_PLACES = {
    **dict.fromkeys(STUDY_ATTRIBUTES, "studies"),
    **dict.fromkeys(SERIES_ATTRIBUTES, "series"),
    **dict.fromkeys(INSTANCE_ATTRIBUTES, "instances"),
}
_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
_RANGES = frozenset(("StudyDate", "StudyTime", "PatientBirthDate"))
KEYS = frozenset((*_PLACES, "ModalitiesInStudy"))


class _Tables(NamedTuple):
    """One set of tables that a question joins, under names of their own."""

    studies: FromClause
    series: FromClause
    instances: FromClause
    verdicts: FromClause

    def joined(self, depth: int = 4) -> FromClause:
        """The first `depth` of them; all four give one row per instance and route."""
        found = self.studies
        if depth > 1:
            found = found.join(self.series, self.series.c.study == self.studies.c.id)
        if depth > 2:
            found = found.join(self.instances, self.instances.c.series == self.series.c.id)
        if depth > 3:
            found = found.join(self.verdicts, self.verdicts.c.series == self.series.c.id)
        return found

    def named(self, name: str) -> FromClause:
        """The table in the place of `studies`, `series` or `instances`."""
        return {"studies": self.studies, "series": self.series, "instances": self.instances}[name]


class _Hidden(NamedTuple):
    """What does not exist for now: Study Instance UIDs, and instances by Orthanc identifier."""

    closed: list[str]
    held: list[str]


_OTHERS = studies.alias("others")
_UNSETTLED = select(_OTHERS.c.StudyInstanceUID).where(~_OTHERS.c.settled)
_ALL = _Tables(studies, series, instances, verdicts)
_INNER = _Tables(studies.alias(), series.alias(), instances.alias(), verdicts.alias())


class Search:
    """Asks `engine` on behalf of one route. Every method raises IndexUnavailable where it cannot answer."""

    def __init__(self, engine: Engine, route: str) -> None:
        self._engine = engine
        self._route = route

    def find(self, asked: Query, closed: Iterable[str], held: Iterable[str]) -> list[dict[str, Any]]:
        """The attributes of what matches, by DICOM keyword, ordered and paged.

        A study (or series) matches where one of its released instances does; each row then speaks of all of
        them: `states` and `modalities` (comma separated), the counts, and `synthetic`, whether any of what
        goes out under its UIDs has SyntheticData=YES. `closed` are Study Instance UIDs, `held` instances,
        that do not exist for now.
        """
        hidden = _Hidden(list(closed), list(held))
        names = _LEVELS[asked.level]
        identity = _ALL.named(names[-1]).c.id
        # Two questions, because a planner that gets them as one counts the whole archive for every page.
        page = [row.id for row in query(self._engine, self._page(asked, hidden))]
        columns = [column for name in names for column in _ALL.named(name).c if column.name in KEYS]
        rows = (
            select(
                *columns,
                identity.label("identity"),
                func.group_concat(distinct(instances.c.state)).label("states"),
                func.group_concat(distinct(series.c.Modality)).label("modalities"),
                func.count(distinct(series.c.id)).label("series_count"),
                func.count(distinct(instances.c.id)).label("instance_count"),
            )
            .select_from(_ALL.joined())
            .where(self._visible(_ALL, hidden), identity.in_(page))
            .group_by(identity)
            .subquery()
        )
        uids = [rows.c[_UID[name]] for name in names]
        synthetic = self._under_synthetic(uids, hidden)
        order = (*uids, rows.c.identity)
        statement = select(rows, synthetic.label("synthetic")).order_by(*order)
        return [dict(row._mapping) for row in query(self._engine, statement)]

    def released(
        self, closed: Iterable[str], held: Iterable[str], study: str, series_uid: str = "", sop: str = ""
    ) -> list[Released]:
        """The instances of a study, or of one series or SOP Instance UID in it, that the route lets out."""
        statement = (
            select(
                instances.c.id,
                studies.c.StudyInstanceUID,
                series.c.SeriesInstanceUID,
                instances.c.SOPInstanceUID,
                instances.c.SOPClassUID,
            )
            .select_from(_ALL.joined())
            .where(
                self._visible(_ALL, _Hidden(list(closed), list(held))), studies.c.StudyInstanceUID == study
            )
            .order_by(series.c.SeriesInstanceUID, instances.c.SOPInstanceUID, instances.c.id)
        )
        if series_uid:
            statement = statement.where(series.c.SeriesInstanceUID == series_uid)
        if sop:
            statement = statement.where(instances.c.SOPInstanceUID == sop)
        return [Released(*tuple(row)) for row in query(self._engine, statement)]

    def assessed(self, instance: str) -> dict[str, Any] | None:
        """The row of an instance, with its assessment; None where the route does not release it."""
        statement = (
            select(instances, studies.c.StudyInstanceUID)
            .select_from(_ALL.joined())
            .where(self._visible(_ALL, _Hidden([], [])), instances.c.id == instance)
        )
        for row in query(self._engine, statement):
            return dict(row._mapping)
        return None

    def _visible(self, tables: _Tables, hidden: _Hidden) -> ColumnElement[bool]:
        return and_(
            tables.verdicts.c.route == self._route,
            tables.verdicts.c.verdict == Verdict.RELEASE.value,
            # Studies that share a UID leave together or not at all.
            tables.studies.c.StudyInstanceUID.not_in(_UNSETTLED),
            tables.studies.c.StudyInstanceUID.not_in(hidden.closed),
            tables.instances.c.id.not_in(hidden.held),
        )

    def _some(self, hidden: _Hidden, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether there is an instance that may be seen and meets all `conditions` on `_INNER`."""
        found = select(_INNER.instances.c.id).select_from(_INNER.joined())
        return found.where(self._visible(_INNER, hidden), *conditions).exists()

    def _page(self, asked: Query, hidden: _Hidden) -> Select[Any]:
        """The identifiers of what matches: without the counts, so that a page of many costs no more than it.

        Keys below the level of the question, and states, are met by one instance of a study or series.
        """
        names = _LEVELS[asked.level]
        identity = _ALL.named(names[-1]).c.id
        own: list[ColumnElement[bool]] = []
        inner = [_INNER.named(names[-1]).c.id == identity]
        for keyword, value in asked.matches.items():
            if keyword == "ModalitiesInStudy" and value:
                modality = _compare(_INNER.series.c.Modality, "Modality", value)
                own.append(self._some(hidden, modality, _INNER.studies.c.id == studies.c.id))
            elif value and _PLACES[keyword] in names:
                own.append(_match(_ALL, keyword, value))
            elif value:
                inner.append(_match(_INNER, keyword, value))
        if asked.states:
            inner.append(_INNER.instances.c.state.in_([state.value for state in asked.states]))
        if asked.synthetic is not None:
            uids = [_ALL.named(name).c[_UID[name]] for name in names]
            synthetic = self._under_synthetic(uids, hidden)
            own.append(synthetic if asked.synthetic else ~synthetic)
        return (
            select(identity)
            .select_from(_ALL.joined(len(names)))
            .where(*own, self._some(hidden, *inner))
            .order_by(*(_ALL.named(name).c[_UID[name]] for name in names), identity)
            .limit(asked.limit)
            .offset(asked.offset)
        )

    def _under_synthetic(self, uids: list[Any], hidden: _Hidden) -> ColumnElement[bool]:
        """Whether a synthetic instance goes out under the same UIDs, in whichever Orthanc study it lies.

        `uids` are the columns of one to three UIDs. Looked up in the list of all that are synthetic, and not
        row by row: there are few in most archives.
        """
        same = [_INNER.named(name).c[uid] for name, uid in _UID.items()][: len(uids)]
        found = select(_key(same)).select_from(_INNER.joined())
        return _key(uids).in_(
            found.where(self._visible(_INNER, hidden), _INNER.instances.c.SyntheticData == "YES")
        )


def _key(uids: list[Any]) -> ColumnElement[str]:
    """UIDs as one text, which databases compare faster than a tuple."""
    return reduce(lambda key, uid: key + "/" + uid, uids)


def _match(tables: _Tables, keyword: str, value: str) -> ColumnElement[bool]:
    if keyword == "PatientName":
        return _compare(tables.studies.c.name_key, keyword, value.upper())
    return _compare(tables.named(_PLACES[keyword]).c[keyword], keyword, value)


def _compare(column: Any, keyword: str, value: str) -> ColumnElement[bool]:
    if keyword in _UIDS or "\\" in value:
        wanted = [part for part in value.replace(",", "\\").split("\\") if part]
        return column.in_(wanted)  # type: ignore[no-any-return]
    if keyword in _RANGES and "-" in value:
        low, _, high = value.partition("-")
        bounds = [column != ""]
        if low:
            bounds.append(column >= low)
        if high:
            # A longer value such as 235959.999 lies within its shorter bound.
            bounds.append(func.substr(column, 1, len(high)) <= high)
        return and_(*bounds)
    if "*" in value or "?" in value:
        escaped = value.replace("/", "//").replace("%", "/%").replace("_", "/_")
        return column.like(escaped.replace("*", "%").replace("?", "_"), escape="/")  # type: ignore[no-any-return]
    return column == value  # type: ignore[no-any-return]
