"""The coded concepts that a stamp writes or looks for, with where the standard defines them."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept: Code Value, Coding Scheme Designator and Code Meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str


# CID 7005 "Contributing Equipment Purpose of Reference" (PS3.16).
SYNTHESIZING_EQUIPMENT = Code("109100", "DCM", "Synthesizing Equipment")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
MODIFYING_EQUIPMENT = Code("109103", "DCM", "Modifying Equipment")
DEIDENTIFYING_EQUIPMENT = Code("109104", "DCM", "De-identifying Equipment")

# CID 7050 "De-identification Method" (PS3.16).
BASIC_CONFIDENTIALITY_PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")
CLEAN_RECOGNIZABLE_VISUAL_FEATURES = Code("113102", "DCM", "Clean Recognizable Visual Features Option")

# CID 7162 "Surface Processing Algorithm Family" (PS3.16), the family of every algorithm identification.
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
