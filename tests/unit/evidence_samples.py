"""Headers made from attribute tables, and the real files of the shared test data where they are present."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orthanc_provenance.evidence.catalogue import Catalogue, load_catalogue

DATA = Path(os.environ.get("PROVENANCE_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
US = "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

Table = dict[str, Any]

REAL_CT: Table = {
    "SOPClassUID": CT,
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "Manufacturer": "SIEMENS",
    "KVP": "120",
    "XRayTubeCurrent": "172",
    "RotationDirection": "CW",
    "ConvolutionKernel": "B30s",
}
REAL_MR: Table = {
    "SOPClassUID": MR,
    "Modality": "MR",
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ScanningSequence": "SE",
    "RepetitionTime": "3500",
    "EchoTime": "125",
    "MagneticFieldStrength": "1.5",
    "ImagedNucleus": "1H",
}
REAL_US: Table = {
    "SOPClassUID": US,
    "Modality": "US",
    "SequenceOfUltrasoundRegions": [{"RegionSpatialFormat": ""}],
    "TransducerData": ["V10-4BP", "", ""],
}
# What nii2dcm, 3D Slicer (Create DICOM Series) and a SimpleITK script write around a volume of any origin.
NII2DCM: Table = {
    "SOPClassUID": MR,
    "Modality": "MR",
    "ImageType": ["DERIVED", "SECONDARY"],
    "ProtocolName": "nii2dcm_DICOM",
    "ScanningSequence": "RM",
    "RepetitionTime": "",
    "EchoTime": "",
    "MagneticFieldStrength": "",
    "AcquisitionDate": "20250101",
    "AcquisitionTime": "120000",
    "InstitutionName": "INSTITUTION_NAME_NONE",
}
SLICER: Table = {
    "SOPClassUID": CT,
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "Manufacturer": "3D Slicer",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "FrameOfReferenceUID": "1.2.3",
    "SliceLocation": "1",
    "SliceThickness": "1",
    "RescaleType": "HU",
    "KVP": "",
}
SIMPLE_ITK: Table = {
    "SOPClassUID": CT,
    "Modality": "CT",
    "ImageType": ["DERIVED", "SECONDARY"],
    "SeriesDescription": "volume Processed-SimpleITK",
    "SliceThickness": "1",
    "KVP": "",
    "RescaleType": "HU",
}
# What simulators and an AI framework write, literally.
VICTRE: Table = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2",
    "Modality": "MG",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "Manufacturer": "VICTRE",
    "InstitutionName": "FDA",
    "InstitutionalDepartmentName": "DIDSR",
    "SoftwareVersions": "MC-GPU_1.5b",
    "ClinicalTrialProtocolName": "VICTRE",
    "ClinicalTrialSiteName": "FDA",
    "ConversionType": "SYN",
    "StudyDescription": "Simulated Digital Mammography",
}
DICOMATOR: Table = {
    "SOPClassUID": CT,
    "Modality": "CT",
    "ImageType": ["DERIVED", "PRIMARY", "AXIAL"],
    "SyntheticData": "YES",
    "Manufacturer": "DICOMator",
    "InstitutionName": "Virtual Hospital",
    "StationName": "Blender",
    "DerivationDescription": "Synthetic CT image voxelized from Blender geometry",
}
MONAI_DEPLOY: Table = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4",
    "Modality": "SEG",
    "Manufacturer": "MONAI Deploy",
    "ManufacturerModelName": "MONAI Deploy App SDK",
    "SeriesDescription": "CAUTION: Not for Diagnostic Use, for research use only.",
    "StudyDescription": "AI results.",
    "ContributingEquipmentSequence": [
        {
            "Manufacturer": "MONAI Deploy",
            "PurposeOfReferenceCodeSequence": [
                {
                    "CodeValue": "Newcode1",
                    "CodingSchemeDesignator": "99IHE",
                    "CodeMeaning": '"Processing Algorithm',
                }
            ],
        }
    ],
}
CONVERTED = (NII2DCM, SLICER, SIMPLE_ITK)


# A file of a site with one entry.
ENTRY = """
[[marker]]
id = "site.generator"
title = "A generator of this site"
attributes = "Manufacturer"
equals = "Dream Factory"
axis = "origin"
says = "ai-generated"
strength = "equipment"
source = "its manual"
examples.match = [{ Manufacturer = "Dream Factory" }]
examples.no_match = [{ Manufacturer = "Dream" }]
"""


@cache
def shipped() -> Catalogue:
    """The catalogue of the package alone."""
    return load_catalogue()


@cache
def labels() -> tuple[dict[str, Any], ...]:
    """The labels of the real files; empty where the test data is not present."""
    file = DATA / "labels.jsonl"
    if not file.is_file():
        return ()
    return tuple(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def equipment(manufacturer: str, model: str = "", purpose: str = "") -> list[Table]:
    """A Contributing Equipment Sequence of one Item."""
    item: Table = {"Manufacturer": manufacturer, "ManufacturerModelName": model}
    if purpose:
        item["PurposeOfReferenceCodeSequence"] = [code(purpose)]
    return [item]


def code(value: str, scheme: str = "DCM") -> Table:
    """An Item of a Code Sequence."""
    return {"CodeValue": value, "CodingSchemeDesignator": scheme}


def merged(*tables: Mapping[str, Any]) -> Table:
    """All attributes of `tables`: Items are added to those there, other values of earlier tables stay."""
    result: Table = {}
    for table in tables:
        for key, value in table.items():
            present = result.get(key)
            if (
                isinstance(present, list)
                and present
                and isinstance(present[0], dict)
                and isinstance(value, list)
            ):
                result[key] = [*present, *value]
            else:
                result.setdefault(key, value)
    return result


def load_site(directory: Path, **files: str) -> Catalogue:
    """The catalogue with the `files` of a site in `directory`."""
    for name, content in files.items():
        (directory / f"{name}.toml").write_text(content, encoding="utf-8")
    return load_catalogue(directory)


def ids(catalogue: Catalogue) -> set[str]:
    """The ids of the markers in force."""
    return {marker.id for marker in catalogue.markers}
