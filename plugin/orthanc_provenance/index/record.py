"""What the index keeps of one instance: its identity, the keys of queries, and its assessment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..dicom.header import Header
from ..model import Assessment

PATIENT_ID = 0x00100020
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
SOP_UID = 0x00080018
_MAX_LENGTH = 512


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
    the value that Synthetic Data (0008,001C) has when the object leaves.
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
    source: str = ""


# Keys of PS3.18 table 10.6.1-5 that this index answers from, by level.
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
}
SERIES_ATTRIBUTES = {
    "SeriesInstanceUID": SERIES_UID,
    "Modality": 0x00080060,
    "SeriesNumber": 0x00200011,
    "SeriesDescription": 0x0008103E,
}
INSTANCE_ATTRIBUTES = {
    "SOPInstanceUID": SOP_UID,
    "SOPClassUID": 0x00080016,
    "InstanceNumber": 0x00200013,
}


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
    """The values of `keys` in `header`, several values joined by backslashes, cut at 512 characters."""
    return {keyword: _clean("\\".join(header.texts(tag))) for keyword, tag in keys.items()}


def _clean(text: str) -> str:
    """Text that every database takes: no lone surrogates, no NUL."""
    return text[:_MAX_LENGTH].encode("utf-8", "replace").decode().replace("\0", "")


def _hash(*parts: str) -> str:
    digest = hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
