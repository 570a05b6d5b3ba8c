"""Questions to the index, as a research route may ask them: only what its verdict releases exists.

Matching follows PS3.4 section C.2.2.2, see `matching`; `pages` says in which order answers come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Join, Select, and_, literal, select

from ..model import Verdict
from . import outgoing
from .pages import Pages
from .query import COLUMNS, Hidden, Level, Query, Released
from .record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from .released import Kind, Summary, groups_of, read_lines, read_terms, summarise
from .schema import JUDGED, instances, released, released_series, series, snapshot, studies, verdicts
from .totals import Totals, count

_PARAMETERS = 500
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
)
_INSTANCES = select(
    instances.c.id,
    instances.c.series,
    literal(1).label("amount"),
    *(instances.c[name] for name in (*INSTANCE_ATTRIBUTES, *JUDGED)),
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


class _Shown(NamedTuple):
    """A series as it is found; `is_mixed` where some of what has its UIDs is synthetic, and some is not."""

    found: Found
    modality: str
    is_mixed: bool


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
        return [found[identity] for identity, _ in page]

    def released(
        self, closed: Iterable[str], held: Iterable[str], study: str, series_uid: str = "", sop: str = ""
    ) -> list[Released]:
        """The instances of a study, or of one series or SOP Instance UID in it, that the route lets out."""
        if study in set(closed):
            return []
        missing = set(held)
        found = outgoing.released_of(self._engine, self._route, study, series_uid, sop)
        return [one for one in found if one.instance not in missing]

    def visible(self, ids: Collection[str]) -> set[str]:
        """Those of the instances `ids` that the route releases."""
        return outgoing.visible(self._engine, self._route, ids)

    def assessed(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The rows of instances, with their assessments, by identifier; without those not released."""
        return outgoing.assessed(self._engine, self._route, ids)

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
        self, connection: Connection, page: list[tuple[Any, int]], _pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        found = {}
        numbers = [number for _, number in page]
        for row in connection.execute(select(released).where(released.c.number.in_(numbers))):
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
        self, connection: Connection, page: list[tuple[Any, int]], pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        shown = self._shown(connection, page, {identity for identity, _ in page}, pages, hidden)
        return {identity: one.found for identity, one in shown.items()}

    def _shown(
        self,
        connection: Connection,
        page: list[tuple[Any, int]],
        which: set[str],
        pages: Pages,
        hidden: Hidden,
    ) -> dict[str, _Shown]:
        """The series `which`, all of them in studies of `page`, by identifier."""
        told = (released_series.c.terms.label("lines"), released_series.c.instance_count.label("amount"))
        synthetic = pages.conditions.synthetic_series().label("synthetic")
        rows = select(*_SHOWN, *_TOLD, *told, series.c.id, synthetic).select_from(_joined())
        rows = rows.join(series, series.c.id == released_series.c.series)
        rows = rows.where(released.c.number.in_({number for _, number in page}))
        rows = rows.where(released_series.c.series.in_(which))
        of_study: dict[int, Summary] = {}
        shown = {}
        for row in connection.execute(rows).all():
            if row.number not in of_study:
                of_study[row.number] = self._of_study(connection, row, hidden)
            of_series = self._of_series(connection, row, hidden)
            flags = of_series.terms[Kind.SYNTHETIC.value] if not hidden.held else ("NO", "YES")
            summary = _with_synthetic(of_series, bool(row.synthetic))
            found = Found(_attributes(row), summary, of_study[row.number], of_series.instance_count)
            shown[row.id] = _Shown(found, row.Modality, len(flags) > 1)
        return shown

    def _instances(
        self, connection: Connection, page: list[tuple[Any, int]], pages: Pages, hidden: Hidden
    ) -> dict[Any, Found]:
        rows = connection.execute(_INSTANCES.where(instances.c.id.in_([one for one, _ in page]))).all()
        parents = self._shown(connection, page, {row.series for row in rows}, pages, hidden)
        mixed = [row.id for row in rows if parents[row.series].is_mixed and row.SyntheticData != "YES"]
        synthetic = self._synthetic(connection, page, mixed, pages) if mixed else set()
        # Most of a page are alike.
        alike: dict[tuple[Any, ...], Summary] = {}
        found = {}
        for row in rows:
            parent = parents[row.series]
            is_synthetic = row.SyntheticData == "YES" or row.id in synthetic
            key = (is_synthetic, parent.modality, *(row._mapping[name] for name in JUDGED))
            if key not in alike:
                alike[key] = _with_synthetic(summarise([row], {row.series: parent.modality}), is_synthetic)
            attributes = {**parent.found.attributes, **_attributes(row)}
            found[row.id] = replace(parent.found, attributes=attributes, summary=alike[key])
        return found

    def _synthetic(
        self, connection: Connection, page: list[tuple[Any, int]], which: list[str], pages: Pages
    ) -> set[str]:
        """Those of the instances `which` under whose UIDs a synthetic one goes out."""
        joined = _joined().join(instances, instances.c.series == released_series.c.series)
        rows = select(instances.c.id).select_from(joined).where(instances.c.id.in_(which))
        rows = rows.where(released.c.number.in_({number for _, number in page}))
        return set(connection.execute(rows.where(pages.conditions.synthetic())).scalars())

    def _of_series(self, connection: Connection, row: Any, hidden: Hidden) -> Summary:
        if row.number in hidden.studies:
            which = select(series.c.id).where(series.c.id == row.id)
            return summarise(*self._groups(connection, which, hidden))
        return Summary(read_lines(row.lines), 1, row.amount)


def _joined() -> Join:
    """The series of what is released, each with its study."""
    same = (released_series.c[name] == released.c[name] for name in ("rank", "number"))
    return released.join(released_series, and_(*same))


def _with_synthetic(summary: Summary, is_synthetic: bool) -> Summary:
    """`summary` with the one value that goes out: what has the same UIDs is one to whoever asks by them."""
    return replace(summary, terms={**summary.terms, Kind.SYNTHETIC.value: ("YES" if is_synthetic else "NO",)})


def _attributes(row: Any) -> dict[str, str]:
    return {keyword: value for keyword, value in row._asdict().items() if keyword in COLUMNS}


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    """`ids` in pieces that every database takes as parameters of one statement."""
    left = iter(ids)
    while some := list(islice(left, _PARAMETERS)):
        yield some
