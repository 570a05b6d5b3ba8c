"""Values of matching keys as conditions on columns: PS3.4 section C.2.2.2, as PS3.18 section 8.3.4.1 uses it.

Single value, list of UIDs, wildcard and range matching; an empty value matches all and makes no condition.
Names are compared without case, everything else as it is written.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_

EMPTY = '""'
"""The value that matches what is empty or absent (PS3.4 section C.2.2.2.1), where the query allows it."""

_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
_DATES = frozenset(("StudyDate", "PatientBirthDate", "SeriesDate", "PerformedProcedureStepStartDate"))
_TIMES = frozenset(("StudyTime", "SeriesTime", "PerformedProcedureStepStartTime"))
NAMES = frozenset(("PatientName", "ReferringPhysicianName"))
LISTS = _UIDS | {"Modality", "ModalitiesInStudy"}
"""Keys of which several values may be asked for at once: UIDs, and codes that can hold no comma either."""

_LAST = "\U0010ffff"


def split(keyword: str, value: str) -> list[str]:
    """The values of which one must match: parted by backslashes, for `LISTS` by commas too."""
    parts = (value.replace(",", "\\") if keyword in LISTS else value).split("\\")
    return [part for part in parts if part]


def is_wild(keyword: str, value: str) -> bool:
    """Whether `value` has wildcards, which UIDs, dates and times cannot have."""
    return keyword not in _UIDS | _DATES | _TIMES and ("*" in value or "?" in value)


def condition(column: Any, keyword: str, value: str) -> ColumnElement[bool]:
    """Whether `column` matches the `value`, not empty, of `keyword`. For names it must be in capitals."""
    if value == EMPTY:
        return column == ""  # type: ignore[no-any-return]
    if keyword in NAMES:
        value = value.upper()
    if keyword in _DATES | _TIMES and "-" in value:
        return _range(column, value)
    values = split(keyword, value)
    if not any(is_wild(keyword, one) for one in values):
        return column.in_(values) if len(values) != 1 else column == values[0]  # type: ignore[no-any-return]
    return or_(*(_like(column, one) for one in values))


def by_index(column: Any, keyword: str, value: str) -> ColumnElement[bool] | None:
    """What an index can find of the matches, perhaps with others; None where it is of no use."""
    value = value.upper() if keyword in NAMES else value
    places = [place for place in (value.find("*"), value.find("?")) if place >= 0]
    if not is_wild(keyword, value):
        return condition(column, keyword, value)
    if "\\" in value or not min(places):
        return None
    start = value[: min(places)]
    return and_(column >= start, column <= start + _LAST)


def _range(column: Any, value: str) -> ColumnElement[bool]:
    low, _, high = value.partition("-")
    bounds = [column != ""]
    if low:
        bounds.append(column >= low)
    if high:
        # A longer value such as 235959.999 lies within its shorter bound.
        bounds.append(func.substr(column, 1, len(high)) <= high)
    return and_(*bounds)


def _like(column: Any, value: str) -> ColumnElement[bool]:
    escaped = value.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="/")  # type: ignore[no-any-return]
