"""How strongly an Item of Contributing Equipment speaks about the origin, by its purpose (PS3.16 CID 7005).

What equipment is named says something about the pixels only where that equipment made or changed them. A
router or a de-identifier of a company of AI processes nothing, and no evidence of privacy moves the origin.
"""

from __future__ import annotations

from ..dicom.dataset import Dataset
from ..model import Axis, Origin, Strength
from .marker import Marker
from .plan import item_codes

MODIFYING = "DCM:109103"
_SYNTHESIZING = "DCM:109100"
_PURPOSE = 0x0040A170
_SILENT = frozenset(
    {
        "DCM:109101",  # acquisition: what made the source, whose origin the source itself tells
        "DCM:109104",  # de-identifying
        "DCM:109105",  # extracting frames
        "DCM:109106",  # conversion to enhanced multi-frame
        "DCM:DOCD",  # digitizing documents,
        "DCM:FILMD",  # films
        "DCM:VIDD",  # and video tapes
        "DCM:MEDIM",  # importing portable media
    }
)


def purposes_of(item: Dataset) -> frozenset[str]:
    """The purposes of an Item of Contributing Equipment as `SCHEME:VALUE`; none where it tells none."""
    return frozenset(item_codes(item, _PURPOSE)) if _PURPOSE in item.elements else frozenset()


def heard(marker: Marker, purposes: frozenset[str]) -> Strength | None:
    """How strongly `marker` speaks in an Item of these `purposes`; None where it says nothing there.

    Synthesizing and Processing Equipment, and Items of no purpose, speak as strongly as anything else.
    Modifying Equipment changes attributes: the name of an AI product is nothing there, that of a generator
    or simulator no more than words.
    """
    if marker.axis is not Axis.ORIGIN or _SYNTHESIZING in purposes:
        return marker.strength
    if purposes & _SILENT:
        return None
    if MODIFYING in purposes:
        return None if marker.says == Origin.AI_DERIVED else Strength.TEXT
    return marker.strength
