"""What a route releases of each study, kept beside the verdicts so that a query need not add it up.

A study is shown with the attributes, counts and provenance of what may leave on the route, and of nothing
else: its first instance may be one that is withheld.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, select, update

from ..model import Origin
from .record import read_header_text
from .schema import JUDGED, instances, released, released_series, released_terms, series

NO_DATE = 10**8
"""The rank of a study without a Study Date that could be read: behind all others."""

# Most studies and series say the same few things of themselves.
_REMEMBERED = 1024


class Kind(StrEnum):
    """What a study, series or instance may be asked for besides its DICOM attributes.

    The values of SYNTHETIC, IDENTITY_REMOVED and DEFACED are YES and NO. A study or series is synthetic where
    one of its instances is; its identity is removed where that of all instances is; it is defaced where all
    of its images are, and there are any.

    SOME holds, of a study, which of IDENTITY_REMOVED and DEFACED is true of some of its instances.
    """

    MODALITY = "modality"
    STATE = "state"
    ORIGIN = "origin"
    SYNTHETIC = "synthetic"
    IDENTITY_REMOVED = "identity-removed"
    DEFACED = "defaced"
    GENERATOR = "generator"
    DECLARATION = "declaration"
    SOME = "some"


Terms = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What some instances come to: `terms` by `Kind` without empty ones, sorted, and how many there are."""

    terms: Terms
    series_count: int
    instance_count: int


def groups_of(which: Select[Any]) -> Select[Any]:
    """The instances of the series that `which` selects, counted by all that verdicts and filters look at."""
    columns = (instances.c.series, *(instances.c[name] for name in JUDGED))
    return (
        select(*columns, func.count().label("amount")).where(instances.c.series.in_(which)).group_by(*columns)
    )


def summarise(groups: Iterable[Any], modalities: Mapping[str, str]) -> Summary:
    """What the rows of `groups_of` come to; `modalities` holds the Modality of their series."""
    groups = list(groups)
    images = [group for group in groups if group.origin != Origin.NON_IMAGE.value]
    ids = {group.series for group in groups}
    found = {
        Kind.MODALITY: {modalities[series_id] for series_id in ids},
        Kind.STATE: {group.state for group in groups},
        Kind.ORIGIN: {group.origin for group in groups},
        Kind.SYNTHETIC: {_flag(any(group.SyntheticData == "YES" for group in groups))},
        Kind.IDENTITY_REMOVED: {_flag(all(group.identity_removed for group in groups))},
        Kind.DEFACED: {_flag(bool(images) and all(group.defaced for group in images))},
        Kind.GENERATOR: {group.generator for group in groups},
        Kind.DECLARATION: {group.declaration for group in groups},
        Kind.SOME: {
            *(Kind.IDENTITY_REMOVED.value for group in groups if group.identity_removed),
            *(Kind.DEFACED.value for group in groups if group.defaced),
        },
    }
    terms = {kind.value: tuple(sorted(filter(None, values))) for kind, values in found.items()}
    return Summary(
        {kind: values for kind, values in terms.items() if values},
        len(ids),
        sum(group.amount for group in groups),
    )


def rank(study_date: str) -> int:
    """The place of a study by its Study Date (DA, eight digits): the newest has the lowest."""
    plain = study_date.isascii() and study_date.isdigit() and len(study_date) == 8
    return NO_DATE - int(study_date) if plain else NO_DATE


@lru_cache(_REMEMBERED)
def read_terms(text: str) -> Terms:
    """The terms in a row of `released`."""
    return {kind: tuple(values) for kind, values in json.loads(text).items()}


def line(kind: Kind, value: str) -> str:
    """What `write_lines` has in it where one of the values of `kind` is `value`."""
    return f"\n{kind.value} {json.dumps(value, ensure_ascii=False)}\n"


def write_lines(terms: Terms) -> str:
    """Terms as one text in which a database can find one of them."""
    return "".join(line(Kind(kind), value) for kind, values in terms.items() for value in values)


@lru_cache(_REMEMBERED)
def read_lines(text: str) -> Terms:
    """What `write_lines` wrote."""
    found: dict[str, tuple[str, ...]] = {}
    for one in text.split("\n"):
        kind, _, value = one.partition(" ")
        if kind:
            found[kind] = (*found.get(kind, ()), json.loads(value))
    return found


@dataclass(frozen=True, slots=True)
class Study:
    """One of Orthanc's studies: the texts of its own header, and of those of its series by identifier."""

    id: str
    uid: str
    header: str
    series: Mapping[str, Any]


def release(
    connection: Connection,
    touched: Iterable[str],
    found: Iterable[Study],
    groups: Mapping[str, list[Any]],
    may: set[tuple[str, str]],
) -> None:
    """Write the rows of the studies `found`, all that share a UID among them, and forget `touched` others.

    `groups` holds the rows of `groups_of` by series, `may` the route and series of what is released.
    """
    found = list(found)
    wanted: dict[tuple[str, str], _Wanted] = {}
    for route in {route for route, _ in may}:
        chosen = {each.id: [one for one in each.series if (route, one) in may] for each in found}
        synthetic = _synthetic(found, groups, chosen)
        for each in found:
            if chosen[each.id]:
                wanted[each.id, route] = _wanted(each, groups, chosen[each.id], synthetic)
    _write(connection, {*touched, *(each.id for each in found)}, wanted)


class _Wanted(NamedTuple):
    """The row of `released` of one study, and those of `released_series`, but for their numbers."""

    row: dict[str, Any]
    series: list[dict[str, Any]]


_Synthetic = Mapping[tuple[str, str], tuple[str, ...]]


def _synthetic(
    found: Iterable[Study], groups: Mapping[str, list[Any]], chosen: Mapping[str, list[str]]
) -> _Synthetic:
    """YES, NO or both by the UIDs of study and series, and by that of the study with "" for the series.

    What goes out under the same UIDs is one to whoever asks by them, in whichever of Orthanc's studies it is.
    """
    values: dict[tuple[str, str], set[str]] = {}
    for study in found:
        for one in chosen[study.id]:
            flags = {_flag(group.SyntheticData == "YES") for group in groups[one]}
            for uid in ("", study.series[one].SeriesInstanceUID):
                values.setdefault((study.uid, uid), set()).update(flags)
    return {uids: tuple(sorted(some)) for uids, some in values.items()}


def _wanted(
    study: Study, groups: Mapping[str, list[Any]], chosen: list[str], synthetic: _Synthetic
) -> _Wanted:
    modalities = {series_id: study.series[series_id].Modality for series_id in chosen}
    summary = summarise((group for series_id in chosen for group in groups[series_id]), modalities)
    terms = {**summary.terms, Kind.SYNTHETIC.value: (_flag("YES" in synthetic[study.uid, ""]),)}
    rows = []
    for series_id in chosen:
        uid = study.series[series_id].SeriesInstanceUID
        part = summarise(groups[series_id], modalities)
        lines = write_lines({**part.terms, Kind.SYNTHETIC.value: synthetic[study.uid, uid]})
        place = {"series": series_id, "SeriesInstanceUID": uid}
        rows.append({**place, "terms": lines, "instance_count": part.instance_count})
    return _Wanted(_row(study, chosen, summary, terms), rows)


def _row(study: Study, chosen: list[str], summary: Summary, terms: Terms) -> dict[str, Any]:
    headers = {study.series[series_id].header for series_id in chosen}
    first = min(chosen, key=lambda series_id: (study.series[series_id].SeriesInstanceUID, series_id))
    shown = read_header_text(study.header if study.header in headers else study.series[first].header)
    return {
        **shown,
        "name_key": shown["PatientName"].upper(),
        "physician_key": shown["ReferringPhysicianName"].upper(),
        "rank": rank(shown["StudyDate"]),
        "terms": json.dumps(terms, ensure_ascii=False, sort_keys=True),
        "series_count": summary.series_count,
        "instance_count": summary.instance_count,
    }


def _write(connection: Connection, studies: set[str], wanted: Mapping[tuple[str, str], _Wanted]) -> None:
    """Bring the rows of `studies` to what is `wanted` by study and route, touching only what differs."""
    known: dict[tuple[str, str], Any] = {}
    for row in connection.execute(select(released).where(released.c.study.in_(studies))).all():
        if (row.study, row.route) in wanted:
            known[row.study, row.route] = row._asdict()
        else:
            _delete_terms(connection, row._asdict())
            connection.execute(delete(released_series).where(*_place(row._asdict())))
            connection.execute(delete(released).where(released.c.number == row.number))
    for (study, route), values in wanted.items():
        old = known.get((study, route))
        place = {"rank": values.row["rank"]}
        if old is None:
            place["number"] = _insert(connection, study, route, values.row)
        else:
            place["number"] = old["number"]
            _update(connection, old, values.row)
        _write_series(connection, old or place, [{**place, **one} for one in values.series])


def _insert(connection: Connection, study: str, route: str, values: Mapping[str, Any]) -> int:
    made = connection.execute(insert(released).values(study=study, route=route, **values))
    number: int = made.inserted_primary_key[0]  # type: ignore[index]
    connection.execute(insert(released_terms), _term_rows({**values, "route": route, "number": number}))
    return number


def _update(connection: Connection, old: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    changed = {name: value for name, value in values.items() if old[name] != value}
    if changed:
        connection.execute(update(released).where(released.c.number == old["number"]).values(changed))
    if changed.keys() & {"terms", "rank"}:
        _delete_terms(connection, old)
        connection.execute(insert(released_terms), _term_rows({**old, **values}))


def _write_series(connection: Connection, old: Mapping[str, Any], wanted: list[dict[str, Any]]) -> None:
    """Bring the rows of one study, which has the place of `old`, to what is wanted."""
    key = released_series.primary_key
    missing = {tuple(row[column.name] for column in key): row for row in wanted}
    for row in connection.execute(select(released_series).where(*_place(old))).all():
        its = tuple(row._mapping[column.name] for column in key)
        if missing.get(its) == row._asdict():
            del missing[its]
        else:
            this = (column == value for column, value in zip(key, its, strict=True))
            connection.execute(delete(released_series).where(*this))
    if missing:
        connection.execute(insert(released_series), list(missing.values()))


def _place(row: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """The rows of `released_series` that belong to a row of `released`."""
    return [released_series.c[name] == row[name] for name in ("rank", "number")]


def _delete_terms(connection: Connection, row: Mapping[str, Any]) -> None:
    key = [column == bindparam(f"its_{column.name}") for column in released_terms.primary_key]
    rows = [{f"its_{name}": value for name, value in term.items()} for term in _term_rows(row)]
    connection.execute(delete(released_terms).where(*key), rows)


def _term_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `released_terms` that belong to a row of `released`."""
    place = {name: row[name] for name in ("route", "rank", "number")}
    return [
        {**place, "kind": kind, "value": value}
        for kind, some in read_terms(row["terms"]).items()
        for value in some
    ]


def series_of(studies: list[str]) -> Select[Any]:
    """The identifiers of the series of these studies."""
    return select(series.c.id).where(series.c.study.in_(studies))


def _flag(value: bool) -> str:
    return "YES" if value else "NO"
