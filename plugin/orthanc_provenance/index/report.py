"""What the index knows of one study, for administrators: what may leave, what may not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, select

from ..model import Verdict
from .schema import instances, query, series, studies, verdicts

MAX_INSTANCES = 1000
_OPENNESS = (Verdict.RELEASE, Verdict.WITHHOLD, Verdict.BLOCK)


def study_report(engine: Engine, study_uid: str) -> dict[str, Any] | None:
    """Verdicts and assessments of the study `study_uid`; None where the index holds none of it.

    `routes` gives the most closed verdict of its series by route, with all reasons; each of `series` has its
    own, its counts by state, and its instances, of which at most 1000 are listed (`truncated` tells). Several
    of Orthanc's studies that share the UID are one here, as they are for the policy; `settled` is true where
    all of them are. Holds no attribute of the patient. Raises IndexUnavailable.
    """
    of_study = studies.c.StudyInstanceUID == study_uid
    settled = [row.settled for row in query(engine, select(studies.c.settled).where(of_study))]
    if not settled:
        return None
    found = _series(engine, of_study)
    listed = _instances(engine, of_study)
    truncated = len(listed) > MAX_INSTANCES
    for row in listed[:MAX_INSTANCES]:
        # A series that came between two of the questions is in the next report.
        if row["series"] in found:
            found[row["series"]]["instances"].append(_instance(row))
    return {
        "StudyInstanceUID": study_uid,
        "settled": all(settled),
        "routes": _routes(one["routes"] for one in found.values()),
        "series": list(found.values()),
        "truncated": truncated,
    }


def _series(engine: Engine, of_study: ColumnElement[bool]) -> dict[str, dict[str, Any]]:
    """The series by Orthanc identifier, in the order of their UIDs, without their instances yet."""
    rows = query(
        engine,
        select(series)
        .join(studies, series.c.study == studies.c.id)
        .where(of_study)
        .order_by(series.c.SeriesInstanceUID, series.c.id),
    )
    found: dict[str, dict[str, Any]] = {
        row.id: {
            "SeriesInstanceUID": row.SeriesInstanceUID,
            "Modality": row.Modality,
            "routes": {},
            "states": Counter(),
            "instances": [],
        }
        for row in rows
    }
    decided = query(engine, select(verdicts).where(verdicts.c.series.in_(found)).order_by(verdicts.c.route))
    for row in decided:
        found[row.series]["routes"][row.route] = {"verdict": row.verdict, "reasons": list(row.reasons)}
    counted = (
        select(instances.c.series, instances.c.state, func.count().label("count"))
        .where(instances.c.series.in_(found))
        .group_by(instances.c.series, instances.c.state)
    )
    for row in query(engine, counted):
        found[row.series]["states"][row.state] = row.count
    return found


def _instances(engine: Engine, of_study: ColumnElement[bool]) -> list[dict[str, Any]]:
    """The instances in the order of their UIDs, one more than are shown where there are more."""
    statement = (
        select(instances)
        .join(series, instances.c.series == series.c.id)
        .join(studies, series.c.study == studies.c.id)
        .where(of_study)
        .order_by(series.c.SeriesInstanceUID, instances.c.SOPInstanceUID, instances.c.id)
        .limit(MAX_INSTANCES + 1)
    )
    return [dict(row._mapping) for row in query(engine, statement)]


def _instance(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("SOPInstanceUID", "state", "origin", "labelled", "modifiers", "evidence", "reason", "catalogue")
    return {
        **{name: row[name] for name in shown},
        "privacy": {"identity_removed": row["identity_removed"], "defaced": row["defaced"]},
        "stamped": row["stamped"],
    }


def _routes(decided: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The most closed verdict and all reasons for it, by route."""
    found: dict[str, dict[str, Any]] = {}
    for routes in decided:
        for route, decision in routes.items():
            known = found.setdefault(route, {"verdict": decision["verdict"], "reasons": []})
            if _OPENNESS.index(decision["verdict"]) > _OPENNESS.index(known["verdict"]):
                known.update(verdict=decision["verdict"], reasons=[])
            if decision["verdict"] == known["verdict"]:
                known["reasons"] = sorted({*known["reasons"], *decision["reasons"]})
    return found
