"""The statements behind a search: which studies, series or instances match, in order and page by page.

The order is that of the studies, newest Study Date first, and within them of Series and SOP Instance UIDs. A
statement begins at a key that few studies meet; else it walks in that order along the rarest term that is
asked for, or along all that is released, until the page is full. The statements leave a planner no other
choice, as none knows how rare a term is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, union
from sqlalchemy.sql.selectable import FromClause, Subquery

from .conditions import Conditions, Term
from .matching import EMPTY, by_index, condition
from .query import Hidden, Query
from .released import Kind
from .schema import instances, released, released_series, released_terms, series

FEW = 2000
"""As many matches of one condition are looked at one by one; of more, only as many as a page needs."""

COUNTED = 500
COUNTED_IN_ORDER = 20_000
"""As many studies are counted where the order in which they are kept is all that is asked: about 1 ms."""

_INDEXED = {
    "StudyInstanceUID": "StudyInstanceUID",
    "PatientID": "PatientID",
    "AccessionNumber": "AccessionNumber",
    "PatientName": "name_key",
}


class _Walk(NamedTuple):
    """Where a statement begins: `start` tells the studies in order, `where` holds the conditions of that."""

    start: FromClause
    where: list[ColumnElement[bool]]
    term: Term | None = None


class Pages:
    """Makes the statements for one query of one route; `connection` tells how much meets each condition."""

    def __init__(self, connection: Connection, route: str, asked: Query, hidden: Hidden) -> None:
        self._connection = connection
        self._route = route
        self.asked = asked
        self.conditions = Conditions(route, asked, hidden)
        self._depth = self.conditions.depth
        self._walks = self._choose_walks()

    def page(self) -> list[tuple[Any, int]]:
        """The identifiers of what matches: `released.number`, or of series or instances; with that number."""
        first, *others = self._branches()
        if others:
            # Each value of a list is a walk in order; together they are sorted anew.
            count = self.asked.limit + self.asked.offset
            walks = union(*(select(one.limit(count).subquery()) for one in (first, *others))).subquery()
            names = ("rank", "number", *(column.name for column in self._uids()), "identity")
            first = select(walks).order_by(*(walks.c[name] for name in names))
        found = self._connection.execute(first.limit(self.asked.limit).offset(self.asked.offset))
        return [(row.identity, row.number) for row in found]

    def total(self) -> int | None:
        """How many match; None where it would take a look at too many to tell."""
        if self._is_in_order():
            (branch,) = self._branches()
            found = self._amount(branch.limit(COUNTED_IN_ORDER + 1).subquery())
            return found if found <= COUNTED_IN_ORDER else None
        for looked_at in (self._studies, self._looked_at):
            amounts = (self._amount(looked_at(walk).limit(COUNTED + 1).subquery()) for walk in self._walks)
            if sum(amounts) > COUNTED:
                return None
        # Without order and limit a planner would be free to begin elsewhere.
        matches = [select(branch.limit(COUNTED).subquery().c.identity) for branch in self._branches()]
        return self._amount(matches[0].subquery() if len(matches) == 1 else union(*matches).subquery())

    def _is_in_order(self) -> bool:
        """Whether one walk through studies meets nothing but matches: an index has all that is asked."""
        if self._depth or len(self._walks) > 1 or self.conditions.others():
            return False
        return not self.conditions.terms(self._walks[0].term, self._walks[0].start)

    def matching(self) -> Select[Any]:
        """The `identity` of all that matches, on all pages, each once and in no order."""
        found = [select(branch.order_by(None).subquery().c.identity) for branch in self._branches()]
        return found[0] if len(found) == 1 else select(union(*found).subquery().c.identity)

    def _amount(self, rows: Subquery) -> int:
        return int(self._connection.execute(select(func.count()).select_from(rows)).scalar_one())

    def _branches(self) -> Iterator[Select[Any]]:
        for walk in self._walks:
            place = (walk.start.c.rank, walk.start.c.number)
            identity = (walk.start.c.number, released_series.c.series, instances.c.id)[self._depth]
            columns = [identity.label("identity"), *place, *self._uids()]
            others = self.conditions.others()
            is_enough = not others and not self._depth
            found = select(*columns).select_from(walk.start if is_enough else self._joined(walk))
            found = found.where(*walk.where, *self.conditions.terms(walk.term, walk.start))
            found = found.where(*self.conditions.hidden(walk.start), *others)
            yield found.order_by(*place, *self._uids(), identity)

    def _studies(self, walk: _Walk) -> Select[Any]:
        """The studies that `walk` visits, whatever else is asked."""
        return select(walk.start.c.number).where(*walk.where)

    def _looked_at(self, walk: _Walk) -> Select[Any]:
        """The studies, series or instances that it visits."""
        if not self._depth:
            return self._studies(walk)
        return select(self._uids()[-1]).select_from(self._joined(walk)).where(*walk.where)

    def _uids(self) -> list[Any]:
        return [released_series.c.SeriesInstanceUID, instances.c.SOPInstanceUID][: self._depth]

    def _joined(self, walk: _Walk) -> FromClause:
        """What `walk` tells, with the tables that the conditions ask: each costs a look at another place."""
        found = walk.start
        if found is not released and (not self._depth or self.conditions.asks_study):
            found = found.join(released, released.c.number == walk.start.c.number)
        if self._depth > 0:
            place = (released_series.c[name] == walk.start.c[name] for name in ("rank", "number"))
            found = found.join(released_series, and_(*place))
        if self._depth > 0 and self.conditions.asks_series:
            found = found.join(series, series.c.id == released_series.c.series)
        if self._depth > 1:
            found = found.join(instances, instances.c.series == released_series.c.series)
        return found

    # -- where to begin -------------------------------------------------------------------------------------

    def _choose_walks(self) -> list[_Walk]:
        """The walks that together meet all that matches, each of it at least once."""
        numbers = self._narrow()
        if numbers is not None:
            return [_Walk(released, [released.c.number.in_(numbers)])]
        implied = self.conditions.implied()
        if not implied:
            return [_Walk(released, [released.c.route == self._route, *self._ranks(released)])]
        rarest = min(implied, key=self._frequency) if len(implied) > 1 else implied[0]
        kind, values = rarest
        return [_Walk(released_terms, self._along(kind, value), rarest) for value in dict.fromkeys(values)]

    def _along(self, kind: Kind, value: str) -> list[ColumnElement[bool]]:
        terms = released_terms.c
        of_term = [terms.route == self._route, terms.kind == kind.value, terms.value == value]
        return [*of_term, *self._ranks(released_terms)]

    def _frequency(self, term: Term) -> tuple[int, int]:
        """How frequent the most frequent value is: by number, or by how soon a walk has met `FEW`."""
        kind, values = term
        found = []
        for value in values:
            walk = (
                select(released_terms.c.rank).where(*self._along(kind, value)).order_by(released_terms.c.rank)
            )
            last = self._connection.execute(walk.limit(1).offset(FEW)).scalar()
            found.append((0, self._amount(walk.limit(FEW).subquery())) if last is None else (1, -last))
        return max(found)

    def _ranks(self, table: FromClause) -> list[ColumnElement[bool]]:
        """The ranks within which a Study Date that is asked for lies."""
        bounds = self.asked.ranks()
        return [table.c.rank >= bounds[0], table.c.rank <= bounds[1]] if bounds is not None else []

    def _narrow(self) -> list[int] | None:
        """The numbers of the studies that one of the keys finds by an index; None where all find many."""
        for found in self._by_keys():
            numbers = list(self._connection.execute(found.distinct().limit(FEW)).scalars())
            if len(numbers) < FEW:
                return numbers
        return None

    def _by_keys(self) -> Iterator[Select[Any]]:
        numbers = select(released.c.number).where(released.c.route == self._route)
        given = {key: value for key, value in self.asked.matches.items() if value and value != EMPTY}
        for keyword, column in _INDEXED.items():
            of_key = by_index(released.c[column], keyword, given[keyword]) if keyword in given else None
            if of_key is not None:
                yield numbers.where(of_key)
        in_series = numbers.join(series, series.c.study == released.c.study)
        if "SeriesInstanceUID" in given:
            uid = series.c.SeriesInstanceUID
            yield in_series.where(condition(uid, "SeriesInstanceUID", given["SeriesInstanceUID"]))
        if "SOPInstanceUID" in given:
            uid = instances.c.SOPInstanceUID
            in_series = in_series.join(instances, instances.c.series == series.c.id)
            yield in_series.where(condition(uid, "SOPInstanceUID", given["SOPInstanceUID"]))
