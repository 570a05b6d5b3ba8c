"""A small mixed archive for searches: what is in it, what of it may leave, and what its provenance is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from door import made
from support import GENERATOR, Image

PRODUCT = "TotalSegmentator"
_ROOT = "1.2.826.0.1.3680043.10.1511.77."
_NAMES = (
    "Doe^John",
    "Doe^Jane^M",
    "DOERING^ANNA",
    "Müller^Jörg",
    "O'Neil^Pat",
    "Yamada^Tarou=山田^太郎",
    "Lee",
    "",
)
_DESCRIPTIONS = ("HEAD 50%", "Thorax_w/o", "Abdomen (pelvis)", "Knee*left", "Wrist, right", "")
_KINDS: dict[str, dict[str, Any]] = {
    "original": {},
    "privacy-protected": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"},
    "ai-derived": {"ManufacturerModelName": PRODUCT},
    "ai-generated": {"ManufacturerModelName": GENERATOR},
    "undetermined": {"SeriesDescription": "GAN generated image"},
}


@dataclass(frozen=True)
class Item:
    """One instance: `state` as it is assessed; `visible` where the research route lets it out."""

    image: Image
    state: str
    visible: bool
    attributes: dict[str, str]


@dataclass
class Mixed:
    """All instances of the archive."""

    items: list[Item] = field(default_factory=list)

    @property
    def visible(self) -> list[Item]:
        return [item for item in self.items if item.visible]

    def values(self, keyword: str) -> list[str]:
        """All values that there are, of what is hidden too."""
        return sorted({item.attributes.get(keyword, "") for item in self.items})


def mixed(studies: int, seed: int) -> Mixed:
    """An archive of `studies` studies, of which about a third holds something that may not leave."""
    chance, archive = random.Random(seed), Mixed()
    for number in range(studies):
        states = chance.choices(tuple(_KINDS), (9, 2, 2, 1, 2), k=chance.choice((1, 1, 2, 3)))
        if "ai-generated" in states and chance.random() < 0.5:
            # Alone it would be a study of which nothing at all may leave.
            states = ["original", "ai-generated"]
        archive.items.extend(_study(number, states, chance))
    return archive


def _study(number: int, states: list[str], chance: random.Random) -> Iterator[Item]:
    blocked = "ai-generated" in states
    shared = {
        "PatientID": f"P{chance.randrange(12):03d}",
        "PatientName": chance.choice(_NAMES),
        "PatientBirthDate": chance.choice(("19500101", "19801231", "")),
        "PatientSex": chance.choice("MFO"),
        "StudyDate": chance.choice(("", "20200110", "20200229", "20210615", "20211231", "20230701")),
        "StudyTime": chance.choice(("", "093000", "101500.123456", "235959.5", "0930")),
        "AccessionNumber": f"A{number:03d}",
        "ReferringPhysicianName": chance.choice(("House^Gregory", "Who^Doctor", "")),
        "StudyDescription": chance.choice(_DESCRIPTIONS),
        "StudyID": f"S{number % 7}",
    }
    study = f"{_ROOT}{number}"
    for place, state in enumerate(states):
        of_series = {
            "Modality": chance.choice(("CT", "MR")),
            "SeriesNumber": str(place + 1),
            "SeriesDescription": chance.choice(("t1", "t2_tse", "scout 1/2", "")),
            "PerformedProcedureStepStartDate": chance.choice(("20200110", "")),
            "PerformedProcedureStepStartTime": chance.choice(("0815", "")),
            **_KINDS[state],
        }
        series = f"{study}.{place + 1}"
        for instance in range(chance.choice((1, 1, 2, 3))):
            name = f"{of_series['Modality']}_small.dcm"
            sop = {"SOPInstanceUID": f"{series}.{instance + 1}"}
            values = {**sop, **shared, **of_series, "InstanceNumber": str(instance + 1)}
            image = made(
                study,
                series,
                name=name,
                patient=shared["PatientID"],
                SpecificCharacterSet="ISO_IR 192",
                **values,
            )
            uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            visible = not blocked and state != "undetermined"
            yield Item(image, state, visible, {**values, **uids})
