"""One record as rows, and the verdicts that follow from a study's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from ..config import Route
from ..model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, Strength
from ..policy import Content
from ..policy import decide as decide_by_policy
from .record import Record
from .schema import facts, instances, policy_fingerprint, series, studies, verdicts


def put(connection: Connection, records: Iterable[Record]) -> None:
    """Write `records`. A study or series has the attributes of its first instance, as in Orthanc.

    An instance that is written again may have been changed in place, so that its attributes count anew.
    """
    latest = {record.identifiers.instance: record for record in records}
    found_studies = {record.identifiers.study: _study(record) for record in reversed(latest.values())}
    found_series = {record.identifiers.series: _series(record) for record in reversed(latest.values())}
    _add_missing(connection, studies, found_studies)
    _add_missing(connection, series, found_series)
    again = connection.execute(select(instances.c.id).where(instances.c.id.in_(list(latest)))).scalars().all()
    for record in map(latest.__getitem__, again):
        _update(connection, studies, _study(record))
        _update(connection, series, _series(record))
    connection.execute(delete(instances).where(instances.c.id.in_(again)))
    connection.execute(insert(instances), [_instance(record) for record in latest.values()])


def _add_missing(connection: Connection, table: Table, found: Mapping[str, dict[str, Any]]) -> None:
    known = set(connection.execute(select(table.c.id).where(table.c.id.in_(list(found)))).scalars())
    missing = [values for identifier, values in found.items() if identifier not in known]
    if missing:
        connection.execute(insert(table), missing)


def _update(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    kept = {name: value for name, value in values.items() if name not in ("id", "settled", "mirrored")}
    connection.execute(update(table).where(table.c.id == values["id"]).values(kept))


def _study(record: Record) -> dict[str, Any]:
    name_key = record.study["PatientName"].upper()
    return {
        "id": record.identifiers.study,
        "settled": False,
        "mirrored": False,
        "name_key": name_key,
        **record.study,
    }


def _series(record: Record) -> dict[str, Any]:
    return {"id": record.identifiers.series, "study": record.identifiers.study, **record.series}


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
        "modifiers": [modifier.value for modifier in assessment.modifiers],
        "evidence": [_write_evidence(evidence) for evidence in assessment.evidence],
        "reason": assessment.reason,
        "catalogue": record.catalogue,
        "pixel_digest": record.pixel_digest,
        "stamped": record.stamped,
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
    """Write the verdicts of the studies in `touched` on every route.

    Studies that share a Study Instance UID are one study to whoever asks by UID, and are decided as one.
    """
    routes = tuple(routes)
    uids = select(studies.c.StudyInstanceUID).where(studies.c.id.in_(set(touched)))
    connection.execute(update(studies).where(studies.c.StudyInstanceUID.in_(uids)).values(mirrored=False))
    columns = (
        instances.c.series,
        instances.c.origin,
        instances.c.labelled,
        instances.c.structured,
        instances.c.identity_removed,
        (instances.c.reason != "").label("flawed"),
    )
    found = connection.execute(
        select(studies.c.StudyInstanceUID, *columns, func.count())
        .join(series, series.c.study == studies.c.id)
        .join(instances, instances.c.series == series.c.id)
        .where(studies.c.StudyInstanceUID.in_(uids))
        .group_by(studies.c.StudyInstanceUID, *columns)
    ).all()
    contents: dict[str, list[Content]] = {}
    for uid, series_id, origin, *rest, _ in found:
        content = Content(series_id, Origin(origin), *map(bool, rest))
        contents.setdefault(uid, []).append(content)
    decided = [
        {
            "route": route.name,
            "series": series_id,
            "verdict": decision.verdict.value,
            "reasons": list(decision.reasons),
        }
        for route in routes
        for study in contents.values()
        for series_id, decision in decide_by_policy(study, route).items()
    ]
    if decided:
        connection.execute(delete(verdicts).where(verdicts.c.series.in_({row["series"] for row in decided})))
        connection.execute(insert(verdicts), decided)


def decide_all_if_policy_changed(connection: Connection, routes: tuple[Route, ...]) -> None:
    """Write all verdicts anew where the routes are not those that they were written for."""
    fingerprint = hashlib.sha256(repr(sorted(map(repr, routes))).encode()).hexdigest()
    known = connection.execute(select(facts.c.value).where(facts.c.name == policy_fingerprint)).scalar()
    if known == fingerprint:
        return
    connection.execute(delete(verdicts))
    every = connection.execute(select(studies.c.id)).scalars().all()
    for start in range(0, len(every), 500):
        decide(connection, every[start : start + 500], routes)
    connection.execute(delete(facts).where(facts.c.name == policy_fingerprint))
    connection.execute(insert(facts).values(name=policy_fingerprint, value=fingerprint))
