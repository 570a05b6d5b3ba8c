"""Studies as a large hospital has them, as records: what `fill` copies over and over."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from orthanc_provenance.index.record import (
    INSTANCE_ATTRIBUTES,
    SERIES_ATTRIBUTES,
    STUDY_ATTRIBUTES,
    Identifiers,
    Record,
)
from orthanc_provenance.model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, Strength

MODALITIES = ("CR", "CT", "MR", "US", "MG", "XA", "PT", "NM", "DX", "RF")
_SHARES = (28, 22, 18, 12, 6, 3, 2, 2, 6, 1)
GENERATORS = tuple(
    f"{name} {version}" for name in ("StyleGAN2", "MAISI", "SubtleMR", "VICTRE") for version in range(5)
)


def assessments(chance: random.Random) -> list[Assessment]:
    """The assessment of each series of one study: mostly acquired, seldom synthetic or unclear."""
    draw = chance.random()
    found = [_of(Origin.ACQUIRED, "acquired")]
    if draw < 0.80:
        return found * chance.choice((1, 1, 2, 3))
    if draw < 0.90:
        return [replace(found[0], privacy=Privacy(True, chance.random() < 0.2))]
    if draw < 0.95:
        return [*found, _of(Origin.AI_DERIVED, chance.choice(GENERATORS))]
    if draw < 0.97:
        return [*found, Assessment(Origin.NON_IMAGE)]
    if draw < 0.98:
        return [*found, replace(_of(Origin.AI_GENERATED, chance.choice(GENERATORS)), labelled=True)]
    if draw < 0.99:
        return [_of(chance.choice((Origin.AI_GENERATED, Origin.SIMULATED)), chance.choice(GENERATORS))]
    return [Assessment(Origin.UNDETERMINED, modifiers=(Modifier.CONFLICT,))]


def _of(origin: Origin, name: str) -> Assessment:
    evidence = Evidence("bench.equipment", "(0008,1090)", name, Axis.ORIGIN, origin.value, Strength.EQUIPMENT)
    return Assessment(origin, evidence=(evidence,) * 3)


def study(number: int, chance: random.Random) -> Iterator[Record]:
    """The records of one study, two instances to a series."""
    modality = chance.choices(MODALITIES, _SHARES)[0]
    patient = {**dict.fromkeys(STUDY_ATTRIBUTES, ""), "StudyInstanceUID": f"1.2.{number}", "PatientID": "P"}
    patient |= {"StudyDescription": f"{modality} {chance.choice(('HEAD', 'THORAX', 'ABDOMEN', 'KNEE'))}"}
    for place, found in enumerate(assessments(chance)):
        shown = {**dict.fromkeys(SERIES_ATTRIBUTES, ""), "SeriesInstanceUID": f"1.2.{number}.{place}"}
        shown |= {"Modality": "SR" if found.origin is Origin.NON_IMAGE else modality}
        shown |= {"SeriesNumber": str(place), "SeriesDescription": f"Series {place}", "Manufacturer": "ACME"}
        for one in range(2):
            image = {**dict.fromkeys(INSTANCE_ATTRIBUTES, ""), "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
            image |= {"InstanceNumber": str(one), "SOPInstanceUID": f"1.2.{number}.{place}.{one}"}
            image |= {"Rows": "512", "Columns": "512", "BitsAllocated": "16"}
            yield Record(
                identifiers=Identifiers(
                    f"{number:044d}", f"{number:040d}{place:04d}", f"{number:036d}{place:04d}{one:04d}"
                ),
                study=patient,
                series=shown,
                instance=image,
                assessment=found,
                synthetic_data="YES" if found.origin.may_be_labelled else "NO",
                catalogue="bench-1",
                pixel_digest="sha256:",
                stamped=True,
            )


def templates(count: int) -> list[list[Record]]:
    """`count` studies, the same in every run."""
    chance = random.Random(count)
    return [list(study(number, chance)) for number in itertools.islice(itertools.count(), count)]
