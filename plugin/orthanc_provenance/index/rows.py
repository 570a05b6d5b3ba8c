"""One record as rows, and the verdicts that follow from a study's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from ..config import Route
from ..model import Assessment, Axis, Decision, Evidence, Modifier, Origin, Privacy, Strength, Verdict
from ..policy import Content
from ..policy import decide as decide_by_policy
from .record import REQUEST_ATTRIBUTES, Record, read_requests, write_header
from .released import Study, groups_of, release, series_of
from .schema import (
    facts,
    instances,
    policy_fingerprint,
    released,
    released_series,
    released_terms,
    requests,
    series,
    studies,
    verdicts,
)

# Manufacturer's Model Name, Manufacturer, Software Versions.
_NAMES = ("(0008,1090)", "(0008,0070)", "(0018,1020)")
_LONG_STRING = 64


def put(connection: Connection, records: Iterable[Record]) -> None:
    """Write `records`. A study or series has the attributes of its first instance, as in Orthanc.

    An instance that is written again may have been changed in place, so that its attributes count anew.
    """
    latest = {record.identifiers.instance: record for record in records}
    of_studies: dict[str, Record] = {}
    of_series: dict[str, Record] = {}
    for record in latest.values():
        of_studies.setdefault(record.identifiers.study, record)
        of_series.setdefault(record.identifiers.series, record)
    new_studies = _missing(connection, studies, of_studies)
    _insert(connection, studies, map(_study, new_studies))
    new_series = _missing(connection, series, of_series)
    _insert(connection, series, map(_series, new_series))
    _insert(connection, requests, (item for record in new_series for item in _requests(record)))
    again = connection.execute(select(instances.c.id).where(instances.c.id.in_(list(latest)))).scalars().all()
    for record in map(latest.__getitem__, again):
        _update(connection, record)
    if again:
        connection.execute(delete(instances).where(instances.c.id.in_(again)))
    connection.execute(insert(instances), [_instance(record) for record in latest.values()])


def _missing(connection: Connection, table: Table, found: Mapping[str, Record]) -> list[Record]:
    known = set(connection.execute(select(table.c.id).where(table.c.id.in_(list(found)))).scalars())
    return [record for identifier, record in found.items() if identifier not in known]


def _insert(connection: Connection, table: Table, values: Iterable[Mapping[str, Any]]) -> None:
    listed = list(values)
    if listed:
        connection.execute(insert(table), listed)


def _update(connection: Connection, record: Record) -> None:
    study, its_series = _study(record), _series(record)
    connection.execute(update(studies).where(studies.c.id == study["id"]).values(header=study["header"]))
    connection.execute(update(series).where(series.c.id == its_series["id"]).values(its_series))
    connection.execute(delete(requests).where(requests.c.series == its_series["id"]))
    _insert(connection, requests, _requests(record))


def _study(record: Record) -> dict[str, Any]:
    return {
        "id": record.identifiers.study,
        "settled": False,
        "mirrored": False,
        "StudyInstanceUID": record.study["StudyInstanceUID"],
        "header": write_header(record.study),
    }


def _series(record: Record) -> dict[str, Any]:
    ids = record.identifiers
    return {"id": ids.series, "study": ids.study, "header": write_header(record.study), **record.series}


def _requests(record: Record) -> list[dict[str, Any]]:
    items = read_requests(record.series["RequestAttributesSequence"])
    return [
        {
            "series": record.identifiers.series,
            "item": number,
            **dict(zip(REQUEST_ATTRIBUTES, item, strict=True)),
        }
        for number, item in enumerate(items)
    ]


def _instance(record: Record) -> dict[str, Any]:
    ids = record.identifiers
    return {"id": ids.instance, "series": ids.series, **record.instance, **_assessed(record)}


def _assessed(record: Record) -> dict[str, Any]:
    assessment = record.assessment
    return {
        "SyntheticData": record.synthetic_data,
        "origin": assessment.origin.value,
        "state": assessment.state.value,
        "identity_removed": assessment.privacy.identity_removed,
        "defaced": assessment.privacy.defaced,
        "labelled": assessment.labelled,
        "structured": is_structured(assessment),
        "flawed": bool(assessment.reason),
        "conflict": Modifier.CONFLICT in assessment.modifiers,
        "generator": generator(assessment),
        "declaration": "",
        "modifiers": [modifier.value for modifier in assessment.modifiers],
        "evidence": [_write_evidence(evidence) for evidence in assessment.evidence],
        "reason": assessment.reason,
        "catalogue": record.catalogue,
        "pixel_digest": record.pixel_digest,
        "stamped": record.stamped,
        "seal": record.seal,
        "source": record.source,
        "mirrored": False,
    }


def is_structured(assessment: Assessment) -> bool:
    """Whether more than text says that the origin is what it is."""
    return any(
        evidence.axis is Axis.ORIGIN
        and evidence.says == assessment.origin.value
        and evidence.strength.is_structured
        for evidence in assessment.evidence
    )


def generator(assessment: Assessment) -> str:
    """The name by which the generator, simulator or AI product of the pixels is known; "" where none is.

    It is what stands where equipment is named: a model rather than a manufacturer, and either rather than
    the versions and descriptions in which others write their names. At most 64 characters.
    """
    if not assessment.origin.may_be_labelled:
        return ""
    named = [
        evidence
        for evidence in assessment.evidence
        if evidence.axis is Axis.ORIGIN
        and evidence.says == assessment.origin.value
        and evidence.strength is Strength.EQUIPMENT
        and evidence.value
    ]
    best = min(named, key=lambda evidence: _place_of_name(evidence.attribute), default=None)
    return best.value.replace("\\", " ")[:_LONG_STRING].strip() if best is not None else ""


def _place_of_name(attribute: str) -> int:
    # Behind the tag may stand which of several values it is.
    tag = attribute.rpartition(">")[2][: len(_NAMES[0])]
    return _NAMES.index(tag) if tag in _NAMES else len(_NAMES)


def read_assessment(row: Mapping[str, Any]) -> Assessment:
    """The assessment in a row of `instances`, as `put` wrote it."""
    return Assessment(
        origin=Origin(row["origin"]),
        privacy=Privacy(row["identity_removed"], row["defaced"]),
        labelled=row["labelled"],
        modifiers=tuple(Modifier(modifier) for modifier in row["modifiers"]),
        evidence=tuple(_read_evidence(item) for item in row["evidence"]),
        reason=row["reason"],
    )


def _write_evidence(evidence: Evidence) -> dict[str, str]:
    return {
        "marker": evidence.marker,
        "attribute": evidence.attribute,
        "value": evidence.value,
        "axis": evidence.axis.value,
        "says": evidence.says,
        "strength": evidence.strength.value,
    }


def _read_evidence(stored: Mapping[str, str]) -> Evidence:
    return Evidence(
        marker=stored["marker"],
        attribute=stored["attribute"],
        value=stored["value"],
        axis=Axis(stored["axis"]),
        says=stored["says"],
        strength=Strength(stored["strength"]),
    )


def decide(connection: Connection, touched: Iterable[str], routes: Iterable[Route]) -> None:
    """Write the verdicts of the studies in `touched` on every route, and what it releases of them.

    Studies that share a Study Instance UID are one study to whoever asks by UID, and are decided as one.
    """
    touched = set(touched)
    if not touched:
        return
    uids = select(studies.c.StudyInstanceUID).where(studies.c.id.in_(touched))
    columns = (studies.c.id, studies.c.StudyInstanceUID, studies.c.header, studies.c.mirrored)
    alike = connection.execute(select(*columns).where(studies.c.StudyInstanceUID.in_(uids))).all()
    ids = [row.id for row in alike]
    if any(row.mirrored for row in alike):
        connection.execute(update(studies).where(studies.c.id.in_(ids)).values(mirrored=False))
    parts: dict[str, dict[str, Any]] = {identifier: {} for identifier in ids}
    shown = (series.c.id, series.c.study, series.c.SeriesInstanceUID, series.c.Modality, series.c.header)
    for row in connection.execute(select(*shown).where(series.c.study.in_(ids))):
        parts[row.study][row.id] = row
    found = [Study(row.id, row.StudyInstanceUID, row.header, parts[row.id]) for row in alike]
    groups: dict[str, list[Any]] = {}
    for group in connection.execute(groups_of(series_of(ids))):
        groups.setdefault(group.series, []).append(group)
    decided = _judge(found, groups, routes)
    _write_verdicts(connection, ids, decided)
    may = {key for key, decision in decided.items() if decision.verdict is Verdict.RELEASE}
    release(connection, touched, found, groups, may)


def _judge(
    found: Iterable[Study], groups: Mapping[str, list[Any]], routes: Iterable[Route]
) -> dict[tuple[str, str], Decision]:
    """The decisions by route and series."""
    contents: dict[str, dict[Content, None]] = {}
    for study in found:
        contents.setdefault(study.uid, {}).update(
            (_content(group), None) for one in study.series for group in groups.get(one, ())
        )
    return {
        (route.name, series_id): decision
        for route in routes
        for study_contents in contents.values()
        for series_id, decision in decide_by_policy(study_contents, route).items()
    }


def _content(group: Any) -> Content:
    return Content(
        series=group.series,
        origin=Origin(group.origin),
        labelled=group.labelled,
        structured=group.structured,
        identity_removed=group.identity_removed,
        flawed=group.flawed,
        conflict=group.conflict,
    )


def _write_verdicts(
    connection: Connection, ids: list[str], decided: Mapping[tuple[str, str], Decision]
) -> None:
    """Write the verdicts on the series of the studies `ids` that are not there yet, or others."""
    known = connection.execute(select(verdicts).where(verdicts.c.series.in_(series_of(ids)))).all()
    same = {
        key
        for row in known
        if (decision := decided.get(key := (row.route, row.series))) is not None
        and (row.verdict, row.reasons) == (decision.verdict.value, list(decision.reasons))
    }
    for row in known:
        if (row.route, row.series) not in same:
            this = (verdicts.c.series == row.series, verdicts.c.route == row.route)
            connection.execute(delete(verdicts).where(*this))
    _insert(
        connection,
        verdicts,
        (
            {
                "route": route,
                "series": series_id,
                "verdict": decision.verdict.value,
                "reasons": list(decision.reasons),
            }
            for (route, series_id), decision in decided.items()
            if (route, series_id) not in same
        ),
    )


def decide_all_if_policy_changed(connection: Connection, routes: tuple[Route, ...]) -> None:
    """Write all verdicts anew where the routes are not those that they were written for."""
    fingerprint = hashlib.sha256(repr(sorted(map(repr, routes))).encode()).hexdigest()
    known = connection.execute(select(facts.c.value).where(facts.c.name == policy_fingerprint)).scalar()
    if known == fingerprint:
        return
    connection.execute(delete(verdicts))
    connection.execute(delete(released_terms))
    connection.execute(delete(released_series))
    connection.execute(delete(released))
    every = connection.execute(select(studies.c.id)).scalars().all()
    for start in range(0, len(every), 500):
        decide(connection, every[start : start + 500], routes)
    connection.execute(delete(facts).where(facts.c.name == policy_fingerprint))
    connection.execute(insert(facts).values(name=policy_fingerprint, value=fingerprint))
