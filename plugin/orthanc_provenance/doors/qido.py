"""QIDO-RS: what a query asks for, and its answers in the DICOM JSON Model (PS3.18 sections 8.3.4 and 10.6).

Supported are all attributes that the index holds, by keyword or as eight hexadecimal digits; `limit` (100
where it is not given, at most 1000), `offset`, `includefield` (all attributes that the index holds are
returned anyhow) and `fuzzymatching` (matching stays literal, and the answer says so). Two keys are about
provenance: `SyntheticData` (0008,001C) YES or NO, and `ProvenanceState`, states by name, separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR
from werkzeug.exceptions import BadRequest

from ..index.record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from ..index.search import KEYS, Level, Query
from ..model import State
from .dicom_json import attribute

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_QUERY = 8192
MAX_KEYS = 64
MAX_VALUE = 1024

_TAGS = {**STUDY_ATTRIBUTES, **SERIES_ATTRIBUTES, **INSTANCE_ATTRIBUTES, "ModalitiesInStudy": 0x00080061}
_SYNTHETIC_DATA = 0x0008001C
_KEYWORDS = {f"{tag:08X}": keyword for keyword, tag in (*_TAGS.items(), ("SyntheticData", _SYNTHETIC_DATA))}
_PARAMETERS = frozenset(("limit", "offset", "includefield", "fuzzymatching", "accept"))
_UID = re.compile(r"[0-9.]{1,64}")
_DATE = r"[0-9]{8}"
_TIME = r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?"
_SYNTAX = {
    "UI": re.compile(rf"{_UID.pattern}(?:[,\\]{_UID.pattern})*"),
    "DA": re.compile(rf"{_DATE}|{_DATE}-(?:{_DATE})?|-{_DATE}"),
    "TM": re.compile(rf"{_TIME}|{_TIME}-(?:{_TIME})?|-{_TIME}"),
}
_EXAMPLE = {"UI": "1.2.840.113", "DA": "20240131 or 20240101-20241231", "TM": "0930 or 0800-1159"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query; `fuzzy` where the client wished for more than literal matching."""

    query: Query
    fuzzy: bool


def check_uid(text: str) -> str:
    """`text` where it has the form of a UID (PS3.5 section 9.1). Raises BadRequest."""
    if not _UID.fullmatch(text):
        raise BadRequest("a UID in the path is not one: at most 64 digits and dots are allowed")
    return text


def read_query(level: Level, arguments: Iterable[tuple[str, str]], path: Mapping[str, str]) -> Asked:
    """The query in the `arguments` of a URL, below the UIDs that its `path` gives, by keyword.

    Raises BadRequest, naming the key, for one that is unknown, given twice or has no such value.
    """
    given = _read_arguments(arguments)
    matches = {key: value for key, value in given.items() if key in KEYS}
    for keyword, uid in path.items():
        if matches.get(keyword, uid) != uid:
            raise BadRequest(f"{keyword} is given by the path already, and the query names another")
        matches[keyword] = uid
    for keyword, value in matches.items():
        _check_value(keyword, value)
    query = Query(
        level=level,
        matches=matches,
        states=_read_states(given.get("ProvenanceState", "")),
        synthetic=_read_choice("SyntheticData", given.get("SyntheticData", ""), "YES", "NO"),
        limit=min(_read_number("limit", given, DEFAULT_LIMIT), MAX_LIMIT),
        offset=_read_number("offset", given, 0),
    )
    fuzzy = _read_choice("fuzzymatching", given.get("fuzzymatching", ""), "true", "false") is True
    return Asked(query, fuzzy)


def _read_arguments(arguments: Iterable[tuple[str, str]]) -> dict[str, str]:
    arguments = list(arguments)
    if len(arguments) > MAX_KEYS:
        raise BadRequest(f"the query has more than {MAX_KEYS} keys")
    given: dict[str, str] = {}
    for name, value in arguments:
        key = _KEYWORDS.get(name.upper(), name)
        if key not in KEYS | _PARAMETERS | {"SyntheticData", "ProvenanceState"}:
            supported = ", ".join(sorted(KEYS))
            raise BadRequest(
                f"unknown query key {name[:64]!r}; supported are limit, offset, includefield, fuzzymatching, "
                f"SyntheticData, ProvenanceState and the attributes {supported}"
            )
        if key in given and key != "includefield":
            raise BadRequest(f"the query key {key} is given twice")
        if len(value) > MAX_VALUE or not value.isprintable():
            raise BadRequest(f"the value of {key} is longer than {MAX_VALUE} or has unprintable characters")
        given[key] = value.strip()
    return given


def _check_value(keyword: str, value: str) -> None:
    vr = dictionary_VR(_TAGS[keyword])
    syntax = _SYNTAX.get(vr)
    if value and syntax is not None and not syntax.fullmatch(value):
        raise BadRequest(f"the value of {keyword} must look like {_EXAMPLE[vr]}")


def _read_number(name: str, given: Mapping[str, str], default: int) -> int:
    text = given.get(name, "")
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,9}", text):
        raise BadRequest(f"{name} must be a whole number from 0 to 999999999")
    return int(text)


def _read_choice(name: str, text: str, yes: str, no: str) -> bool | None:
    if text.lower() not in (yes.lower(), no.lower(), ""):
        raise BadRequest(f"{name} must be {yes} or {no}")
    return text.lower() == yes.lower() if text else None


def _read_states(text: str) -> tuple[State, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in frozenset(State)]
    if unknown:
        raise BadRequest(f"unknown ProvenanceState {unknown[0][:64]!r}; states are {', '.join(State)}")
    return tuple(State(name) for name in names)


def answer(level: Level, row: Mapping[str, Any], root: str) -> dict[str, Any]:
    """One row of `Search.find` as the attributes of PS3.18 tables 10.6.3-3 to 10.6.3-5; `root` as a URL."""
    found = {
        f"{tag:08X}": attribute(dictionary_VR(tag), row[keyword].split("\\"))
        for keyword, tag in _TAGS.items()
        if keyword in row
    }
    found["00080005"] = attribute("CS", ["ISO_IR 192"])
    found["00080056"] = attribute("CS", ["ONLINE"])
    found[f"{_SYNTHETIC_DATA:08X}"] = attribute("CS", ["YES" if row["synthetic"] else "NO"])
    url = f"{root}/studies/{row['StudyInstanceUID']}"
    if level is Level.STUDY:
        modalities = sorted(filter(None, row["modalities"].split(",")))
        found["00080061"] = attribute("CS", modalities)
        found["00201206"] = attribute("IS", [str(row["series_count"])])
        found["00201208"] = attribute("IS", [str(row["instance_count"])])
    else:
        url += f"/series/{row['SeriesInstanceUID']}"
    if level is Level.SERIES:
        found["00201209"] = attribute("IS", [str(row["instance_count"])])
    if level is Level.INSTANCE:
        url += f"/instances/{row['SOPInstanceUID']}"
    found["00081190"] = attribute("UR", [url])
    return dict(sorted(found.items()))
