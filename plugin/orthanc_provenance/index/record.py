"""What the index keeps of one instance: its identity, the keys of queries, and its assessment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..dicom.header import Header
from ..model import Assessment

PATIENT_ID = 0x00100020
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
SOP_UID = 0x00080018
REQUEST_SEQUENCE = 0x00400275
_MAX_LENGTH = 512
_MAX_REQUESTS = 16


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Orthanc's identifiers of an instance and of what it belongs to."""

    study: str
    series: str
    instance: str


@dataclass(frozen=True, slots=True)
class Record:
    """One assessed instance, ready to be written.

    `study`, `series` and `instance` hold attributes by DICOM keyword, as text in UTF-8. `synthetic_data` is
    the value that Synthetic Data (0008,001C) has when the object leaves. `seal` tells the stored bytes of a
    stamped object again, see `intake`; "" where there is none.
    """

    identifiers: Identifiers
    study: dict[str, str]
    series: dict[str, str]
    instance: dict[str, str]
    assessment: Assessment
    synthetic_data: str = ""
    catalogue: str = ""
    pixel_digest: str = ""
    stamped: bool = False
    seal: str = ""
    source: str = ""


# What is searched and shown at each level: tables 10.6.1-5 and 10.6.3-3 to 10.6.3-5 of PS3.18, and what
# researchers choose data by besides.
STUDY_ATTRIBUTES = {
    "StudyInstanceUID": STUDY_UID,
    "PatientID": PATIENT_ID,
    "PatientName": 0x00100010,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "StudyDate": 0x00080020,
    "StudyTime": 0x00080030,
    "AccessionNumber": 0x00080050,
    "ReferringPhysicianName": 0x00080090,
    "StudyDescription": 0x00081030,
    "StudyID": 0x00200010,
    "TimezoneOffsetFromUTC": 0x00080201,
}
SERIES_ATTRIBUTES = {
    "SeriesInstanceUID": SERIES_UID,
    "Modality": 0x00080060,
    "SeriesNumber": 0x00200011,
    "SeriesDescription": 0x0008103E,
    "SeriesDate": 0x00080021,
    "SeriesTime": 0x00080031,
    "PerformedProcedureStepStartDate": 0x00400244,
    "PerformedProcedureStepStartTime": 0x00400245,
    "RequestAttributesSequence": REQUEST_SEQUENCE,
    "BodyPartExamined": 0x00180015,
    "ProtocolName": 0x00181030,
    "Manufacturer": 0x00080070,
    "ManufacturerModelName": 0x00081090,
}
REQUEST_ATTRIBUTES = {
    "ScheduledProcedureStepID": 0x00400009,
    "RequestedProcedureID": 0x00401001,
}
INSTANCE_ATTRIBUTES = {
    "SOPInstanceUID": SOP_UID,
    "SOPClassUID": 0x00080016,
    "InstanceNumber": 0x00200013,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
}
_NUMBERS = frozenset((0x00280010, 0x00280011, 0x00280100))


def orthanc_identifiers(header: Header) -> Identifiers:
    """The identifiers that Orthanc gives: SHA-1 over the DICOM identifiers, in five groups of eight digits.

    Objects whose identifiers hold other than ASCII may be named differently by Orthanc; the caller compares
    with the identifier that Orthanc reports and falls back on the archive.
    """
    patient, study = header.text(PATIENT_ID), header.text(STUDY_UID)
    series, instance = header.text(SERIES_UID), header.text(SOP_UID)
    return Identifiers(
        study=_hash(patient, study),
        series=_hash(patient, study, series),
        instance=_hash(patient, study, series, instance),
    )


def attributes(header: Header, keys: dict[str, int]) -> dict[str, str]:
    """The values of `keys` in `header`, several values joined by backslashes, cut at 512 characters.

    Numbers are written in decimal; Request Attributes Sequence as `write_requests` does.
    """
    return {keyword: _value(header, tag) for keyword, tag in keys.items()}


def _value(header: Header, tag: int) -> str:
    if tag not in header.elements:
        return ""
    if tag == REQUEST_SEQUENCE:
        items = header.items(tag, _MAX_REQUESTS)
        return write_requests(
            [_clean(item.text(key)) for key in REQUEST_ATTRIBUTES.values()] for item in items
        )
    if tag in _NUMBERS:
        return "\\".join(map(str, header.integers(tag)))
    return _clean("\\".join(header.texts(tag)))


def write_requests(items: Iterable[list[str]]) -> str:
    """The Items of a Request Attributes Sequence, as values of REQUEST_ATTRIBUTES; "" for no Items."""
    found = [item for item in items if any(item)]
    return json.dumps(found, ensure_ascii=False) if found else ""


def read_requests(text: str) -> list[list[str]]:
    """What `write_requests` wrote. What it did not write, such as an archive's own notation, is no Item."""
    return json.loads(text) if text.startswith("[[") else []


def write_header(study: Mapping[str, str]) -> str:
    """The attributes of patient and study of one record, as one text that is the same for the same values."""
    return json.dumps([study[keyword] for keyword in STUDY_ATTRIBUTES], ensure_ascii=False)


def read_header_text(text: str) -> dict[str, str]:
    """What `write_header` wrote, by keyword."""
    return dict(zip(STUDY_ATTRIBUTES, json.loads(text), strict=True))


def _clean(text: str) -> str:
    """Text that every database takes: no lone surrogates, no NUL."""
    if text.isascii() and "\0" not in text:
        return text[:_MAX_LENGTH]
    return text[:_MAX_LENGTH].encode("utf-8", "replace").decode().replace("\0", "")


def _hash(*parts: str) -> str:
    digest = hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
