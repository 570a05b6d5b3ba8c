"""What all studies that match a query come to, however many they are: counted by the database, not listed.

Of a study in which something is just arriving anew nothing is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, case, distinct, func, select

from ..model import Origin, Verdict
from .pages import Pages
from .query import Hidden
from .released import Kind
from .schema import instances, released, released_terms, series, verdicts

MAX_GENERATORS = 1000

_ARTIFICIAL = [origin.value for origin in Origin if origin.may_be_labelled]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of studies, series and instances: all that hold something of the kind that is counted."""

    studies: int = 0
    series: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class Generator:
    """What a generator, simulator or AI product made, or one that is not named (""); with its declaration."""

    name: str
    origin: Origin
    declaration: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Totals:
    """All that matches: in all, by state, and by generator, of which at most `MAX_GENERATORS` are listed."""

    all: Counts
    states: dict[str, Counts]
    generators: tuple[Generator, ...]
    more_generators: bool


def count(connection: Connection, route: str, pages: Pages, hidden: Hidden) -> Totals:
    """Count what `pages` finds on `route`, less the studies of which something is held."""
    matching = pages.matching()
    if hidden.studies:
        found = matching.subquery()
        matching = select(found.c.identity).where(found.c.identity.not_in(hidden.studies))
    chosen = released.c.number.in_(matching)
    sums = (func.count(), func.sum(released.c.series_count), func.sum(released.c.instance_count))
    row = connection.execute(select(*sums).where(chosen)).one()
    every = Counts(*(int(value or 0) for value in row))
    generators = _generators(connection, route, matching) if every.studies else []
    return Totals(
        every,
        _states(connection, route, matching, every) if every.studies else {},
        tuple(generators[:MAX_GENERATORS]),
        len(generators) > MAX_GENERATORS,
    )


def _states(connection: Connection, route: str, matching: Select[Any], every: Counts) -> dict[str, Counts]:
    """The counts by state.

    Most studies hold one state, and most of them the same: only those that hold another are looked into. What
    is not there is of the state that most have.
    """
    term = released_terms.c
    in_studies = (
        select(term.value, func.count())
        .where(term.route == route, term.kind == Kind.STATE.value, term.number.in_(matching))
        .group_by(term.value)
    )
    studies = {value: int(amount) for value, amount in connection.execute(in_studies)}
    first = max(studies, key=lambda state: (studies[state], state))
    others = sorted(studies.keys() - {first})
    if not others:
        return {first: every}
    with_others = select(term.number).where(
        term.route == route, term.kind == Kind.STATE.value, term.value.in_(others), term.number.in_(matching)
    )
    amounts = [_amount_of(state).label(f"amount_{number}") for number, state in enumerate((first, *others))]
    by_series = _released(route, with_others, *amounts).group_by(series.c.id).subquery()
    columns = [by_series.c[f"amount_{number}"] for number in range(len(others) + 1)]
    sums = [
        part for column in columns for part in (func.sum(case((column > 0, 1), else_=0)), func.sum(column))
    ]
    without_first = func.sum(case((columns[0] == 0, 1), else_=0))
    absent, *found = (int(value or 0) for value in connection.execute(select(without_first, *sums)).one())
    counts = {
        state: Counts(studies[state], found[2 * number], found[2 * number + 1])
        for number, state in enumerate(others, start=1)
    }
    rest = every.instances - sum(one.instances for one in counts.values())
    return dict(sorted({**counts, first: Counts(studies[first], every.series - absent, rest)}.items()))


def _amount_of(state: str) -> Any:
    return func.sum(case((instances.c.state == state, 1), else_=0))


def _generators(connection: Connection, route: str, matching: Select[Any]) -> list[Generator]:
    """What artificial content there is by its maker, most of it first."""
    term, one = released_terms.c, instances.c
    artificial = select(term.number).where(
        term.route == route,
        term.kind == Kind.ORIGIN.value,
        term.value.in_(_ARTIFICIAL),
        term.number.in_(matching),
    )
    keys = (one.generator, one.origin, one.declaration)
    counted = (func.count(distinct(released.c.number)), func.count(distinct(one.series)), func.count())
    rows = (
        _released(route, artificial, *keys, *counted)
        .where(one.origin.in_(_ARTIFICIAL))
        .group_by(*keys)
        .order_by(func.count().desc(), *keys)
        .limit(MAX_GENERATORS + 1)
    )
    return [
        Generator(name, Origin(origin), declaration, Counts(*amounts))
        for name, origin, declaration, *amounts in connection.execute(rows)
    ]


def _released(route: str, numbers: Select[Any], *columns: Any) -> Select[Any]:
    """`columns` of the instances that `route` releases of the studies with these `numbers`."""
    which = numbers.distinct().subquery()
    joined = which.join(released, released.c.number == which.c.number)
    joined = joined.join(series, series.c.study == released.c.study)
    joined = joined.join(verdicts, verdicts.c.series == series.c.id)
    joined = joined.join(instances, instances.c.series == series.c.id)
    found = select(*columns).select_from(joined)
    return found.where(verdicts.c.route == route, verdicts.c.verdict == Verdict.RELEASE.value)
