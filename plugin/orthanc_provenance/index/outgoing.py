"""Which instances a route lets out, asked again for every object that leaves.

The statements are made once: to make one takes longer than to answer it.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import Engine, Row, Select, bindparam, exists, select

from ..model import Verdict
from .query import Released
from .schema import instances, query, series, studies, verdicts

_OTHERS = studies.alias()


def released_of(
    engine: Engine, route: str, study: str, series_uid: str = "", sop: str = ""
) -> list[Released]:
    """The instances of a study, or of one series or SOP Instance UID in it, that `route` lets out.

    Raises IndexUnavailable, as do all here.
    """
    given = {"study": study, "series": series_uid, "sop": sop}
    given = {"route": route, **{level: uid for level, uid in given.items() if uid}}
    statement = _below(by_series=bool(series_uid), by_sop=bool(sop))
    return list(map(Released._make, query(engine, statement, given)))


def visible(engine: Engine, route: str, ids: Collection[str]) -> set[str]:
    """Those of the instances `ids` that `route` releases."""
    if not ids:
        return set()
    return {row.id for row in query(engine, _visible(), {"route": route, "ids": list(ids)})}


def assessed(engine: Engine, route: str, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows of instances, with their assessments, by identifier; without those not released."""
    if not ids:
        return {}
    rows: list[Row[Any]] = query(engine, _assessed(), {"route": route, "ids": list(ids)})
    return {row.id: dict(row._mapping) for row in rows}


@cache
def _visible() -> Select[Any]:
    return _released(instances.c.id).where(instances.c.id.in_(bindparam("ids", expanding=True)))


@cache
def _assessed() -> Select[Any]:
    found = _released(instances, studies.c.StudyInstanceUID)
    return found.where(instances.c.id.in_(bindparam("ids", expanding=True)))


@cache
def _below(*, by_series: bool, by_sop: bool) -> Select[Any]:
    uids = (studies.c.StudyInstanceUID, series.c.SeriesInstanceUID, instances.c.SOPInstanceUID)
    found = _released(instances.c.id, *uids, instances.c.SOPClassUID)
    found = found.where(studies.c.StudyInstanceUID == bindparam("study"))
    if by_series:
        found = found.where(series.c.SeriesInstanceUID == bindparam("series"))
    if by_sop:
        found = found.where(instances.c.SOPInstanceUID == bindparam("sop"))
    return found.order_by(*uids[1:], instances.c.id)


def _released(*columns: Any) -> Select[Any]:
    """Instances that the verdict releases, of studies that are settled wherever they share a UID."""
    joined = studies.join(series, series.c.study == studies.c.id)
    joined = joined.join(instances, instances.c.series == series.c.id)
    joined = joined.join(verdicts, verdicts.c.series == series.c.id)
    same = _OTHERS.c.StudyInstanceUID == studies.c.StudyInstanceUID
    return (
        select(*columns)
        .select_from(joined)
        .where(verdicts.c.route == bindparam("route"), verdicts.c.verdict == Verdict.RELEASE.value)
        # Studies that share a UID leave together or not at all.
        .where(~exists().where(same, ~_OTHERS.c.settled))
    )
