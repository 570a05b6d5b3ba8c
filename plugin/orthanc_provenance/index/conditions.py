"""What one query demands, as conditions on the tables: what exists for the route, keys, and provenance.

They stand on one row per study, series or instance, with the row of `released` of its study beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, exists, not_, or_, select
from sqlalchemy.sql.selectable import FromClause

from ..model import Origin, Verdict
from .matching import EMPTY, condition, is_wild, split
from .query import COLUMNS, Hidden, Level, Query
from .released import Kind, line
from .schema import (
    instances,
    released,
    released_series,
    released_terms,
    requests,
    series,
    studies,
    verdicts,
)

Term = tuple[Kind, tuple[str, ...]]

_KEY_COLUMNS = {"PatientName": "name_key", "ReferringPhysicianName": "physician_key"}
# What is true of a series or instance is true of its study.
_TOLD_BY_STUDY = ((Kind.SYNTHETIC, ("YES",)), (Kind.IDENTITY_REMOVED, ("NO",)))
_OF_INSTANCE = {
    Kind.STATE: "state",
    Kind.ORIGIN: "origin",
    Kind.GENERATOR: "generator",
    Kind.DECLARATION: "declaration",
}


class _Tables(NamedTuple):
    """One set of tables under names of their own."""

    released: FromClause
    series: FromClause
    instances: FromClause
    verdicts: FromClause


_OUTER = _Tables(released, series, instances, verdicts)
_INNER = _Tables(released.alias(), series.alias(), instances.alias(), verdicts.alias())
_OTHERS = studies.alias()
_HERE = released.alias()


class Conditions:
    """Makes the conditions of the query `asked` on `route`; `depth` is that of its level, 0 for studies."""

    def __init__(self, route: str, asked: Query, hidden: Hidden) -> None:
        self._route = route
        self._asked = asked
        self._hidden = hidden
        self.depth = tuple(Level).index(asked.level)

    def implied(self) -> list[Term]:
        """Kinds and values, of which the study of whatever matches has one of each: none of no values."""
        found: list[Term] = []
        for kind, values in self._asked.provenance.items():
            if self.depth == 0 or kind in _OF_INSTANCE or (kind, values) in _TOLD_BY_STUDY:
                found.append((kind, values))
            elif kind in (Kind.IDENTITY_REMOVED, Kind.DEFACED) and values == ("YES",):
                # A series may be what its study as a whole is not.
                found.append((Kind.SOME, (kind.value,)))
        for keyword in ("ModalitiesInStudy", "Modality"):
            found.append((Kind.MODALITY, _plain_values(keyword, self._asked.matches.get(keyword, ""))))
        return [(kind, values) for kind, values in found if values]

    def terms(self, walked: Term | None, start: FromClause) -> list[ColumnElement[bool]]:
        """That the study has all terms but the one that is `walked`; `start` has its rank and number."""
        return [self._has_term(term, start) for term in self.implied() if term != walked]

    def hidden(self, start: FromClause) -> list[ColumnElement[bool]]:
        """That the study exists now; `start` has its number."""
        return [start.c.number.not_in(self._hidden.closed)] if self._hidden.closed else []

    @property
    def asks_study(self) -> bool:
        """Whether `others` look at `released`."""
        return bool(self._hidden.held) or self._hidden.unsettled or any(self._keys_at(0))

    @property
    def asks_series(self) -> bool:
        """Whether `others` look at `series`."""
        return any(keyword != "SeriesInstanceUID" for keyword in self._keys_at(1))

    def _keys_at(self, depth: int) -> Iterator[str]:
        """The keys of one level that take a look at the rows of its table."""
        for keyword, value in self._asked.matches.items():
            is_told = keyword == "ModalitiesInStudy" and _plain_values(keyword, value)
            is_own = COLUMNS.get(keyword, 0) == depth and keyword not in self._asked.requests()
            if value and is_own and not is_told:
                yield keyword

    def others(self) -> list[ColumnElement[bool]]:
        """All else, for which it takes a look at the rows themselves."""
        return [*self._own_keys(), *self._provenance(), *self._below(), *self._visible()]

    def _visible(self) -> Iterator[ColumnElement[bool]]:
        if self._hidden.unsettled:
            # Studies that share a UID leave together or not at all.
            same = _OTHERS.c.StudyInstanceUID == released.c.StudyInstanceUID
            yield ~exists().where(same, ~_OTHERS.c.settled)
        if self._hidden.held and self.depth > 1:
            yield instances.c.id.not_in(self._hidden.held)
        elif self._hidden.held:
            yield self._unless_held(self._some())

    def _unless_held(self, condition_: ColumnElement[bool]) -> ColumnElement[bool]:
        """`condition_`, asked only where something of the study is held: else its terms have told."""
        return or_(released.c.number.not_in(self._hidden.studies), condition_)

    def _own_keys(self) -> Iterator[ColumnElement[bool]]:
        for keyword, value in self._asked.matches.items():
            place = COLUMNS.get(keyword, 0)
            if not value or place > self.depth or keyword in self._asked.requests():
                continue
            if keyword == "ModalitiesInStudy":
                yield from self._modalities(value)
            else:
                yield self._match(_OUTER, keyword, value)
        if self._asked.requests() and self.depth > 0:
            yield self._requested(released_series.c.series)

    def _below(self) -> list[ColumnElement[bool]]:
        """Keys below the level of the question are met, with what else is asked, by one instance."""
        below = [
            self._match(_INNER, keyword, value)
            for keyword, value in self._asked.matches.items()
            if value and COLUMNS.get(keyword, 0) > self.depth and keyword not in self._asked.requests()
        ]
        if self._asked.requests() and self.depth == 0:
            below.append(self._requested(_INNER.series.c.id))
        if not below:
            return []
        for kind, column in _OF_INSTANCE.items():
            if self._asked.provenance.get(kind):
                below.append(_INNER.instances.c[column].in_(self._asked.provenance[kind]))
        return [self._some(*below)]

    def _match(self, tables: _Tables, keyword: str, value: str) -> ColumnElement[bool]:
        if tables is _OUTER and keyword == "SeriesInstanceUID":
            return condition(released_series.c[keyword], keyword, value)
        table = (tables.released, tables.series, tables.instances)[COLUMNS[keyword]]
        return condition(table.c[_KEY_COLUMNS.get(keyword, keyword)], keyword, value)

    def _modalities(self, value: str) -> Iterator[ColumnElement[bool]]:
        """`implied` tells plain values, unless something is held."""
        some = self._some(condition(_INNER.series.c.Modality, "Modality", value), of_study=True)
        if self._hidden.held:
            yield self._unless_held(some)
        elif not _plain_values("ModalitiesInStudy", value):
            yield some

    def _requested(self, series_id: Any) -> ColumnElement[bool]:
        """Whether one Item of Request Attributes Sequence meets all keys of the sequence."""
        keys = [
            condition(requests.c[keyword], keyword, self._asked.matches[keyword])
            for keyword in self._asked.requests()
        ]
        return exists().where(requests.c.series == series_id, *keys)

    def _provenance(self) -> Iterator[ColumnElement[bool]]:
        """What the terms of the study do not tell already."""
        for kind, values in self._asked.provenance.items():
            if not values:
                continue
            if self.depth > 1:
                yield from self._of_instances(kind, values)
            elif self.depth and not self._hidden.held:
                yield or_(*(self._told(kind, value) for value in values))
            elif self._hidden.held:
                exact = self._exact(kind, values)
                yield exact if self.depth else self._unless_held(exact)

    def _exact(self, kind: Kind, values: tuple[str, ...]) -> ColumnElement[bool]:
        if kind in _OF_INSTANCE:
            return self._some(_INNER.instances.c[_OF_INSTANCE[kind]].in_(values))
        flag = self._flag(kind)
        return or_(*(flag if value == "YES" else not_(flag) for value in values))

    def _flag(self, kind: Kind) -> ColumnElement[bool]:
        """Whether the answer for a study or series is YES, of what is not held."""
        one = _INNER.instances.c
        if kind is Kind.SYNTHETIC:
            return self.synthetic()
        if kind is Kind.IDENTITY_REMOVED:
            return not_(self._some(~one.identity_removed))
        image = one.origin != Origin.NON_IMAGE.value
        return and_(self._some(image), not_(self._some(image, ~one.defaced)))

    def _of_instances(self, kind: Kind, values: tuple[str, ...]) -> Iterator[ColumnElement[bool]]:
        """What one of the instances must be; of most series their own terms tell that none of them is."""
        if kind in _OF_INSTANCE:
            yield or_(*(self._has_line(kind, value) for value in values))
            yield instances.c[_OF_INSTANCE[kind]].in_(values)
            return
        if kind is Kind.SYNTHETIC:
            yield or_(*(self._has_line(kind, value) for value in values))
            flag = self.synthetic()
        elif kind is Kind.IDENTITY_REMOVED:
            flag = instances.c.identity_removed.is_(True)
        else:
            flag = and_(instances.c.origin != Origin.NON_IMAGE.value, instances.c.defaced)
        yield or_(*(flag if value == "YES" else not_(flag) for value in values))

    def _told(self, kind: Kind, value: str) -> ColumnElement[bool]:
        """What the terms of a series say, where nothing is held."""
        if kind is Kind.SYNTHETIC and value == "NO":
            return not_(self._has_line(kind, "YES"))
        return self._has_line(kind, value)

    def _has_line(self, kind: Kind, value: str) -> ColumnElement[bool]:
        found: ColumnElement[bool] = released_series.c.terms.contains(line(kind, value), autoescape=True)
        return found

    def _has_term(self, wanted: Term, start: FromClause) -> ColumnElement[bool]:
        # By the whole key, so that a walk by rank probes a neighbour of what it has probed before.
        term, (kind, values) = released_terms.alias(), wanted
        return exists().where(
            term.c.route == self._route,
            term.c.kind == kind.value,
            term.c.value == values[0] if len(values) == 1 else term.c.value.in_(values),
            term.c.rank == start.c.rank,
            term.c.number == start.c.number,
        )

    def _some(self, *conditions: ColumnElement[bool], of_study: bool = False) -> ColumnElement[bool]:
        """Whether there is an instance that may be seen, in what is asked for, and meets all `conditions`."""
        scope = (
            _INNER.series.c.study == released.c.study,
            _INNER.series.c.id == released_series.c.series,
            _INNER.instances.c.id == instances.c.id,
        )[0 if of_study else self.depth]
        return self._inner().where(scope, *conditions).exists()

    def _inner(self) -> Select[Any]:
        """Instances that may be seen."""
        found = _INNER.series.join(_INNER.verdicts, _INNER.verdicts.c.series == _INNER.series.c.id)
        found = found.join(_INNER.instances, _INNER.instances.c.series == _INNER.series.c.id)
        seen = select(_INNER.instances.c.id).select_from(found)
        seen = seen.where(
            _INNER.verdicts.c.route == self._route, _INNER.verdicts.c.verdict == Verdict.RELEASE.value
        )
        return seen.where(_INNER.instances.c.id.not_in(self._hidden.held)) if self._hidden.held else seen

    def synthetic(self) -> ColumnElement[bool]:
        """Whether a synthetic instance goes out under the same UIDs, in whichever Orthanc study it lies."""
        if self.depth < 2:
            return self._synthetic_below(released) if self.depth == 0 else self.synthetic_series()
        exact = self._same_uids(_INNER.instances.c.SOPInstanceUID == instances.c.SOPInstanceUID)
        if self._hidden.held:
            return exact
        mixed = and_(*(self._has_line(Kind.SYNTHETIC, value) for value in ("NO", "YES")))
        return or_(instances.c.SyntheticData == "YES", and_(mixed, exact))

    def synthetic_series(self) -> ColumnElement[bool]:
        """The same of a series, at whatever level is asked."""
        return self._same_uids() if self._hidden.held else self._has_line(Kind.SYNTHETIC, "YES")

    def _same_uids(self, *same: ColumnElement[bool]) -> ColumnElement[bool]:
        here = _HERE.c.number == released_series.c.number
        uid = _INNER.series.c.SeriesInstanceUID == released_series.c.SeriesInstanceUID
        return self._synthetic_below(_HERE, here, uid, *same)

    def _synthetic_below(self, study: FromClause, *same: ColumnElement[bool]) -> ColumnElement[bool]:
        other = _INNER.released.c
        in_study = (other.route == self._route, other.StudyInstanceUID == study.c.StudyInstanceUID)
        found = self._inner().where(*in_study, _INNER.series.c.study == other.study, *same)
        return found.where(_INNER.instances.c.SyntheticData == "YES").exists()


def _plain_values(keyword: str, value: str) -> tuple[str, ...]:
    """The values of a key, of which one must be there as it is; () where `value` asks for anything else."""
    values = tuple(split(keyword, value)) if value != EMPTY else ()
    return () if any(is_wild(keyword, one) for one in values) else values
