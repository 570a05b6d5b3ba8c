"""Questions to the index, as a research route may ask them: only what its verdict releases exists.

Matching follows PS3.4 section C.2.2.2, see `matching`; `pages` says in which order answers come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Select, exists, literal, select

from ..model import Verdict
from .pages import Pages
from .query import COLUMNS, Hidden, Level, Query, Released
from .record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from .released import Kind, Summary, groups_of, read_terms, summarise
from .schema import JUDGED, instances, released, series, snapshot, studies, verdicts
from .totals import Totals, count

_PARAMETERS = 500
_OTHERS = studies.alias()
_STUDY, _SERIES = len(STUDY_ATTRIBUTES), len(SERIES_ATTRIBUTES)
_TOLD = (
    released.c.number,
    released.c.study,
    released.c.terms,
    released.c.series_count,
    released.c.instance_count,
)
_SHOWN = (
    *(released.c[keyword] for keyword in STUDY_ATTRIBUTES),
    *(series.c[keyword] for keyword in SERIES_ATTRIBUTES),
    *(instances.c[keyword] for keyword in INSTANCE_ATTRIBUTES),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One study, series or instance that matches, with its `attributes` by DICOM keyword.

    `summary` speaks of all of it that may leave, whatever part of it matched, `study` of its whole study, and
    `series_instances` is the number of instances in its series (0 for a study).
    """

    attributes: dict[str, str]
    summary: Summary
    study: Summary
    series_instances: int = 0

    def __getitem__(self, keyword: str) -> str:
        return self.attributes[keyword]


class Search:
    """Asks `engine` on behalf of one route. Every method raises IndexUnavailable where it cannot answer."""

    def __init__(self, engine: Engine, route: str) -> None:
        self._engine = engine
        self._route = route

    def find(self, asked: Query, closed: Iterable[str], held: Iterable[str]) -> list[Found]:
        """What matches, ordered and paged.

        `closed` are Study Instance UIDs, `held` instances, that do not exist for now.
        """
        with snapshot(self._engine) as connection:
            hidden = self._hidden(connection, closed, held)
            return self._page(connection, Pages(connection, self._route, asked, hidden), hidden)

    def search(
        self, asked: Query, closed: Iterable[str], held: Iterable[str]
    ) -> tuple[list[Found], int | None]:
        """`find` with one match more than the limit where there are more, and how many match on all pages.

        The number is None where it would take a look at too many to tell.
        """
        with snapshot(self._engine) as connection:
            hidden = self._hidden(connection, closed, held)
            pages = Pages(connection, self._route, replace(asked, limit=asked.limit + 1), hidden)
            found = self._page(connection, pages, hidden)
            is_last = len(found) <= asked.limit and bool(found or not asked.offset)
            return found, asked.offset + len(found) if is_last else pages.total()

    def totals(self, asked: Query, closed: Iterable[str], held: Iterable[str]) -> Totals:
        """What all studies that match come to, whatever the page; `asked` is a query for studies."""
        with snapshot(self._engine) as connection:
            hidden = self._hidden(connection, closed, held)
            return count(connection, self._route, Pages(connection, self._route, asked, hidden), hidden)

    def _page(self, connection: Connection, pages: Pages, hidden: Hidden) -> list[Found]:
        page = pages.page()
        if not page:
            return []
        answers = {Level.STUDY: self._studies, Level.SERIES: self._series, Level.INSTANCE: self._instances}
        found = answers[pages.asked.level](connection, page, pages, hidden)
        # What two statements find in one snapshot is the same.
        return [found[identity] for identity in page]

    def released(
        self, closed: Iterable[str], held: Iterable[str], study: str, series_uid: str = "", sop: str = ""
    ) -> list[Released]:
        """The instances of a study, or of one series or SOP Instance UID in it, that the route lets out."""
        if study in set(closed):
            return []
        statement = (
            self._visible(
                instances.c.id,
                studies.c.StudyInstanceUID,
                series.c.SeriesInstanceUID,
                instances.c.SOPInstanceUID,
                instances.c.SOPClassUID,
            )
            .where(studies.c.StudyInstanceUID == study)
            .order_by(series.c.SeriesInstanceUID, instances.c.SOPInstanceUID, instances.c.id)
        )
        if series_uid:
            statement = statement.where(series.c.SeriesInstanceUID == series_uid)
        if sop:
            statement = statement.where(instances.c.SOPInstanceUID == sop)
        missing = set(held)
        with snapshot(self._engine) as connection:
            found = [Released(*tuple(row)) for row in connection.execute(statement)]
        return [one for one in found if one.instance not in missing]

    def visible(self, ids: Collection[str]) -> set[str]:
        """Those of the instances `ids` that the route releases."""
        if not ids:
            return set()
        with snapshot(self._engine) as connection:
            statement = self._visible(instances.c.id).where(instances.c.id.in_(ids))
            return set(connection.execute(statement).scalars())

    def assessed(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The rows of instances, with their assessments, by identifier; without those not released."""
        if not ids:
            return {}
        statement = self._visible(instances, studies.c.StudyInstanceUID).where(instances.c.id.in_(ids))
        with snapshot(self._engine) as connection:
            return {row.id: dict(row._mapping) for row in connection.execute(statement)}

    def _visible(self, *columns: Any) -> Select[Any]:
        """Instances that the verdict releases, of studies that are settled wherever they share a UID."""
        joined = studies.join(series, series.c.study == studies.c.id)
        joined = joined.join(instances, instances.c.series == series.c.id)
        joined = joined.join(verdicts, verdicts.c.series == series.c.id)
        same = _OTHERS.c.StudyInstanceUID == studies.c.StudyInstanceUID
        return (
            select(*columns)
            .select_from(joined)
            .where(verdicts.c.route == self._route, verdicts.c.verdict == Verdict.RELEASE.value)
            # Studies that share a UID leave together or not at all.
            .where(~exists().where(same, ~_OTHERS.c.settled))
        )

    def _hidden(self, connection: Connection, closed: Iterable[str], held: Iterable[str]) -> Hidden:
        """Of what does not exist for now that which is in the index: most of it is not there yet."""
        uid, of_route = released.c.StudyInstanceUID, released.c.route == self._route
        numbers = select(released.c.number).where(of_route)
        waiting = select(studies.c.StudyInstanceUID).where(~studies.c.settled)
        hidden = list(connection.execute(numbers.where(uid.in_(waiting)).limit(_PARAMETERS)).scalars())
        unsettled = len(hidden) == _PARAMETERS
        for some in _chunks(closed):
            hidden += connection.execute(numbers.where(uid.in_(some))).scalars()
        known: dict[str, int] = {}
        parents = released.join(series, series.c.study == released.c.study)
        parents = parents.join(instances, instances.c.series == series.c.id)
        for some in _chunks(held):
            rows = select(instances.c.id, released.c.number).select_from(parents)
            rows = rows.where(of_route, instances.c.id.in_(some))
            known.update((row.id, row.number) for row in connection.execute(rows))
        return Hidden(hidden, list(known), list(set(known.values())), unsettled)

    def _studies(
        self, connection: Connection, page: list[Any], _pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        found = {}
        for row in connection.execute(select(released).where(released.c.number.in_(page))):
            summary = self._of_study(connection, row, hidden)
            found[row.number] = Found(_attributes(row), summary, summary)
        return found

    def _of_study(self, connection: Connection, row: Any, hidden: Hidden) -> Summary:
        if row.number in hidden.studies:
            which = select(series.c.id).join(verdicts).where(series.c.study == row.study)
            which = which.where(verdicts.c.route == self._route, verdicts.c.verdict == Verdict.RELEASE.value)
            return summarise(*self._groups(connection, which, hidden))
        return Summary(read_terms(row.terms), row.series_count, row.instance_count)

    def _groups(
        self, connection: Connection, which: Select[Any], hidden: Hidden
    ) -> tuple[list[Any], dict[str, str]]:
        """What may leave of some series, counted, and the Modality of each."""
        modalities = select(series.c.id, series.c.Modality).where(series.c.id.in_(which))
        groups = groups_of(which)
        if hidden.held:
            groups = groups.where(instances.c.id.not_in(hidden.held))
        return list(connection.execute(groups)), {
            row.id: row.Modality for row in connection.execute(modalities)
        }

    def _series(
        self, connection: Connection, page: list[Any], pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        of_series = self._by_series(connection, select(series.c.id).where(series.c.id.in_(page)), hidden)
        rows = (
            select(
                *_SHOWN[: _STUDY + _SERIES],
                *_TOLD,
                series.c.id,
                pages.conditions.synthetic().label("synthetic"),
            )
            .join_from(released, series, series.c.study == released.c.study)
            .where(released.c.route == self._route, series.c.id.in_(page))
            # Said again for planners, which would rather walk through all that is released.
            .where(released.c.study.in_(select(series.c.study).where(series.c.id.in_(page))))
        )
        return {
            row.id: self._found(connection, row, of_series[row.id], of_series[row.id], hidden)
            for row in connection.execute(rows).all()
        }

    def _by_series(self, connection: Connection, which: Select[Any], hidden: Hidden) -> dict[str, Summary]:
        groups, modalities = self._groups(connection, which, hidden)
        of_series: dict[str, list[Any]] = {}
        for group in groups:
            of_series.setdefault(group.series, []).append(group)
        return {identifier: summarise(some, modalities) for identifier, some in of_series.items()}

    def _instances(
        self, connection: Connection, page: list[Any], pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        parents = select(instances.c.series).where(instances.c.id.in_(page))
        of_series = self._by_series(connection, select(series.c.id).where(series.c.id.in_(parents)), hidden)
        judged = (instances.c.id, instances.c.series, *(instances.c[name] for name in JUDGED))
        synthetic = pages.conditions.synthetic().label("synthetic")
        rows = (
            select(*_SHOWN, *_TOLD, *judged, literal(1).label("amount"), synthetic)
            .join_from(released, series, series.c.study == released.c.study)
            .join(instances, instances.c.series == series.c.id)
            .where(released.c.route == self._route, instances.c.id.in_(page))
            .where(released.c.study.in_(select(series.c.study).where(series.c.id.in_(parents))))
            .where(series.c.id.in_(parents))
        )
        return {
            row.id: self._found(
                connection, row, summarise([row], {row.series: row.Modality}), of_series[row.series], hidden
            )
            for row in connection.execute(rows).all()
        }

    def _found(
        self, connection: Connection, row: Any, summary: Summary, of_series: Summary, hidden: Hidden
    ) -> Found:
        # What goes out under the same UIDs is one to whoever asks by them.
        terms = {**summary.terms, Kind.SYNTHETIC.value: ("YES" if row.synthetic else "NO",)}
        of_study = self._of_study(connection, row, hidden)
        return Found(_attributes(row), replace(summary, terms=terms), of_study, of_series.instance_count)


def _attributes(row: Any) -> dict[str, str]:
    return {keyword: value for keyword, value in row._mapping.items() if keyword in COLUMNS}


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    """`ids` in pieces that every database takes as parameters of one statement."""
    left = iter(ids)
    while some := list(islice(left, _PARAMETERS)):
        yield some
