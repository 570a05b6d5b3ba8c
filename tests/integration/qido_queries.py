"""Searches at random, as text for a URL: for both Orthanc's own QIDO-RS and ours.

Orthanc is asked for what it can be asked. It takes what is escaped in a URL as it stands, commas as parting
values, and `?` for one byte, so a value holds `*` where it would need any of these. It does not find names
that hold other than ASCII between two wildcards, nor Modalities in Study by wildcards or below the level of
studies, and refuses wildcards for numbers. It compares all text without case, so no case is changed but that
of names.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from qido_archive import PRODUCT, Item, Mixed

LEVELS = ("studies", "series", "instances")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyDescription", "StudyInstanceUID"),
)
_SERIES = (
    *("Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)
_INSTANCE = ("SOPInstanceUID", "InstanceNumber")
_KEYS = ((*_STUDY, "ModalitiesInStudy"), (*_STUDY, *_SERIES), (*_STUDY, *_SERIES, *_INSTANCE))
_TAGS = {"PatientID": "00100020", "PatientName": "00100010", "StudyDate": "00080020", "Modality": "00080060"}
_DATES = ("PatientBirthDate", "StudyDate", "PerformedProcedureStepStartDate")
_TIMES = ("StudyTime", "PerformedProcedureStepStartTime")
_UNSAFE = re.compile(r"[^A-Za-z0-9*?_.\-]")
_FIELDS = (
    ("StudyDescription", "00081030,PatientSex"),
    ("Manufacturer,BodyPartExamined", "00181030"),
    ("Rows,Columns", "all"),
)
_STATES = ("original", "privacy-protected", "ai-derived", "ai-generated", "undetermined")
_FILTERS = {
    "SyntheticData": ("YES", "NO"),
    "ProvenanceState": (*_STATES, "original,ai-derived", "ai-derived,privacy-protected"),
    "ProvenanceOrigin": ("acquired", "ai-derived", "simulated"),
    "IdentityRemoved": ("YES", "NO"),
    "Generator": (PRODUCT, "StyleGAN2"),
}


@dataclass
class Search:
    """One search: of `level` (0 for studies), below `path`, with keys and filters that only we know."""

    level: int
    path: str
    keys: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    filters: dict[str, str] = field(default_factory=dict)
    page: tuple[int, int] | None = None

    @property
    def asked(self) -> str:
        """Without page and filters."""
        return f"{self.path}?{'&'.join([f'{key}={value}' for key, value in self.keys.items()] + self.extra)}"


def search(archive: Mixed, chance: random.Random, *, filtered: bool) -> Search:
    """A search with up to four keys, most of whose values lie in the archive."""
    level = chance.randrange(3)
    made = Search(level, _path(archive, level, chance))
    keys = [key for key in _KEYS[level] if key not in UIDS or f"/{key}" not in made.path]
    given = _uids_in(made.path)
    for key in chance.sample(keys, chance.choice((0, 1, 1, 2, 2, 3, 4))):
        if key not in given:
            made.keys[_TAGS.get(key, key) if chance.random() < 0.3 else key] = _value(archive, key, chance)
    if chance.random() < 0.2:
        # Of one instance among several, Orthanc shows attributes that belong to a lower level.
        made.extra.append(f"includefield={chance.choice(_FIELDS[chance.randrange(level + 1)])}")
    if filtered and chance.random() < 0.5:
        for name in chance.sample(sorted(_FILTERS), chance.choice((1, 1, 2))):
            made.filters[name] = chance.choice(_FILTERS[name])
    if chance.random() < 0.4:
        made.page = (chance.choice((1, 2, 5, 20)), chance.choice((0, 0, 1, 3, 10, 50)))
    return made


def keyword(key: str) -> str:
    """The keyword of a key that may be a tag."""
    return {tag: word for word, tag in _TAGS.items()}.get(key, key)


def _path(archive: Mixed, level: int, chance: random.Random) -> str:
    item = chance.choice(archive.items).image
    below = [f"/{LEVELS[level]}"]
    if level > 0:
        below.append(f"/studies/{item.study}/{LEVELS[level]}")
    if level > 1:
        below.append(f"/studies/{item.study}/series/{item.series}/instances")
    return chance.choice(below)


def _uids_in(path: str) -> tuple[str, ...]:
    return UIDS[: path.count("/") // 2]


def _value(archive: Mixed, key: str, chance: random.Random) -> str:
    present = archive.values("Modality" if key == "ModalitiesInStudy" else key)
    value = chance.choice(present)
    if chance.random() < 0.05:
        return ""
    if key in UIDS:
        return ",".join(filter(None, chance.sample(present, min(len(present), chance.choice((1, 1, 3))))))
    if key in _DATES:
        return _ranged(value, chance.choice(("19800101", "20200301", "20211231", "20230701")), chance)
    if key in _TIMES:
        # Bounds that are no time in the archive: Orthanc takes 101500.5 to lie behind 101500 and 1015.
        return chance.choice((value, _ranged("080000", chance.choice(("120000", "200000")), chance)))
    if key == "ModalitiesInStudy":
        return chance.choice((value, value, "CT,MR", "XA"))
    if key in ("SeriesNumber", "InstanceNumber"):
        return value
    if not value.isascii():
        return f"{value[:1]}*"
    if key == "PatientName":
        value = chance.choice((value, value.upper(), value.lower()))
    start, end = sorted((chance.randrange(len(value) + 1), chance.randrange(len(value) + 1)))
    shapes = (
        value,
        value,
        f"{value[:start]}*",
        f"*{value[end:]}",
        f"{value[:start]}*{value[end:]}",
        f"{value[:1]}?*",
    )
    return re.sub(r"^\*+$", "", _UNSAFE.sub("*", chance.choice(shapes)))


def _ranged(value: str, other: str, chance: random.Random) -> str:
    low, high = sorted((value or other, other))
    return chance.choice((value, f"{low}-{high}", f"{low}-", f"-{high}"))


def differs_by_the_standard(made: Search, item: dict[str, str]) -> bool:
    """Whether Orthanc finds what has these attributes though the standard says that it does not match.

    What has no date or time lies in no range (PS3.4 section C.2.2.2.5): for Orthanc it lies in those without
    a beginning.
    """
    return any(
        value.startswith("-") and not item.get(keyword(key), "")
        for key, value in made.keys.items()
        if keyword(key) in (*_DATES, *_TIMES)
    )


def meets(made: Search, items: list[Item]) -> bool:
    """Whether what consists of these instances (all that may leave of it) meets the filters, by our rules."""
    states = {item.state for item in items}
    origins = {state if state.startswith("ai") else "acquired" for state in states}
    synthetic = "YES" if any(item.attributes.get("SyntheticData") == "YES" for item in items) else "NO"
    removed = "YES" if all(item.state == "privacy-protected" for item in items) else "NO"
    names = {PRODUCT} if "ai-derived" in states else set()
    told = {
        "SyntheticData": {synthetic},
        "ProvenanceState": states,
        "ProvenanceOrigin": origins,
        "IdentityRemoved": {removed},
        "Generator": names,
    }
    return all(told[name] & set(wanted.split(",")) for name, wanted in made.filters.items())
