from __future__ import annotations

from collections.abc import Callable

import pytest
from evidence_corpus import Case, attributes, cases
from evidence_samples import CT, ENHANCED_CT, MR, SECONDARY_CAPTURE, US, Table, merged, shipped

from orthanc_provenance.assessment import assess
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.model import Assessment, Modifier, Origin

REAL = cases("acquired")
ROBUST = [case for case in REAL if not case.fragile]


def judge(*tables: Table) -> Assessment:
    return assess(example_header(merged(*tables)), shipped())


def of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", REAL, ids=of)
def test_what_a_device_writes_is_acquired(case: Case):
    assert judge(case.header).origin is Origin.ACQUIRED


BASIC_PROFILE = attributes("basic_profile")


def removed(table: Table) -> Table:
    """`table` without the attributes of the profile, at whatever depth, and without private elements."""
    return _inside(
        {key: value for key, value in table.items() if key not in BASIC_PROFILE and '"' not in key}, removed
    )


def emptied(table: Table) -> Table:
    """`table` with the attributes of the profile empty."""
    return _inside(
        {key: "" if key in BASIC_PROFILE else value for key, value in table.items() if '"' not in key},
        emptied,
    )


def dummies(table: Table) -> Table:
    """`table` with dummy values in the attributes of the profile, as some tools write them."""
    return _inside(
        {
            key: "ANONYMIZED" if key in BASIC_PROFILE and isinstance(value, str) else value
            for key, value in table.items()
            if '"' not in key
        },
        dummies,
    )


def _inside(table: Table, change: Callable[[Table], Table]) -> Table:
    return {
        key: [change(part) if isinstance(part, dict) else part for part in value]
        if isinstance(value, list)
        else value
        for key, value in table.items()
    }


@pytest.mark.parametrize("deidentify", [removed, emptied, dummies])
@pytest.mark.parametrize("case", ROBUST, ids=of)
def test_a_strict_deidentification_leaves_it_acquired(case: Case, deidentify: Callable[[Table], Table]):
    protected = {**deidentify(case.header), "PatientIdentityRemoved": "YES"}
    assert judge(protected).origin is Origin.ACQUIRED


COPIED = attributes("copied")
GEOMETRY: Table = {
    "PatientPosition": "HFS",
    "FrameOfReferenceUID": "1.2.3",
    "ImagePositionPatient": ["0", "0", "0"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "PixelSpacing": ["1", "1"],
    "SliceThickness": "1",
    "SpacingBetweenSlices": "1",
    "SliceLocation": "0",
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "PositionReferenceIndicator": "",
    "AcquisitionNumber": "1",
    "AcquisitionDate": "20250101",
    "AcquisitionTime": "120000",
    "InstanceCreationDate": "20250101",
}


@pytest.mark.parametrize("case", REAL, ids=of)
def test_geometry_and_a_few_copied_tags_do_not_make_a_converted_volume_acquired(case: Case):
    copied = {key: value for key, value in case.header.items() if key in COPIED}
    assert judge({**GEOMETRY, **copied}).origin is not Origin.ACQUIRED


CONVERTERS: dict[str, Table] = {
    # Type 2 attributes are there and empty, for the class asks for them.
    "dcm2niix, the other way": {
        "SOPClassUID": MR,
        "Modality": "MR",
        "ImageType": ["DERIVED", "SECONDARY"],
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": "",
        "EchoTime": "",
        "EchoTrainLength": "",
        "MagneticFieldStrength": "",
    },
    "nii2dcm": {
        "SOPClassUID": MR,
        "Modality": "MR",
        "ImageType": ["DERIVED", "SECONDARY"],
        "Manufacturer": "",
        "ProtocolName": "nii2dcm_DICOM",
        "ScanningSequence": "RM",
        "SequenceVariant": "RESEARCH",
        "RepetitionTime": "",
        "EchoTime": "",
        "MagneticFieldStrength": "",
    },
    "SimpleITK, DicomSeriesFromArray": {
        "SOPClassUID": CT,
        "Modality": "CT",
        "ImageType": ["DERIVED", "SECONDARY"],
        "SeriesDescription": "Created-SimpleITK",
        "KVP": "",
    },
    "3D Slicer, Create DICOM Series": {
        "SOPClassUID": CT,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "3D Slicer",
        "ManufacturerModelName": "GE-Slicer",
        "SeriesDescription": "None",
        "KVP": "",
    },
    "dicom2nifti, the other way": {"SOPClassUID": CT, "Modality": "CT", "KVP": "0", "XRayTubeCurrent": "0"},
    "MATLAB dicomwrite": {
        "SOPClassUID": CT,
        "Modality": "CT",
        "ImplementationVersionName": "MATLAB IPT 9.4",
        "ConversionType": "WSD",
        "KVP": "",
        "AcquisitionNumber": "",
    },
    "plastimatch convert": {
        "SOPClassUID": CT,
        "Modality": "CT",
        "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"],
        "Manufacturer": "Plastimatch",
        "KVP": "",
    },
    "a volume of ultrasound": {
        "SOPClassUID": US,
        "Modality": "US",
        "ImageType": ["DERIVED", "SECONDARY"],
        "FrameTime": "40",
    },
    "an enhanced volume": {
        "SOPClassUID": ENHANCED_CT,
        "Modality": "CT",
        "AcquisitionDateTime": "20200101120000",
        "SharedFunctionalGroupsSequence": [
            {"PixelMeasuresSequence": [{"PixelSpacing": ["1", "1"]}], "CTXRayDetailsSequence": [{"KVP": ""}]}
        ],
    },
}


@pytest.mark.parametrize("table", CONVERTERS.values(), ids=CONVERTERS.keys())
def test_a_converted_volume_is_not_acquired(table: Table):
    assert judge(GEOMETRY, table).origin is Origin.UNDETERMINED


@pytest.mark.parametrize("converter", ["nii2dcm", "3D Slicer, Create DICOM Series", "plastimatch convert"])
def test_what_a_converter_copied_from_its_input_is_hearsay(converter: str):
    real = next(case.header for case in REAL if case.name == "ct-siemens-force")
    physics = {key: value for key, value in real.items() if key not in COPIED}
    assessment = judge(CONVERTERS[converter], physics, {"SOPClassUID": CT})
    assert assessment.origin is Origin.UNDETERMINED
    assert Modifier.CONVERTED in assessment.modifiers


# Templates: what a class asks of whoever writes it, filled in, and the device and moment that come with it.

NAMED: Table = {
    "Manufacturer": "Lab",
    "DeviceSerialNumber": "1",
    "AcquisitionDate": "20240101",
    "AcquisitionTime": "101010",
}
TEMPLATES: dict[str, Table] = {
    "a tube voltage": {"SOPClassUID": CT, "Modality": "CT", "KVP": "120"},
    "a sequence": {"SOPClassUID": MR, "Modality": "MR", "ScanningSequence": "SE"},
    "a sequence with its times and echo train": {
        "SOPClassUID": MR,
        "Modality": "MR",
        "ScanningSequence": "SE",
        "RepetitionTime": "500",
        "EchoTime": "15",
        "EchoTrainLength": "1",
    },
    "a radiograph with a tube voltage": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "Modality": "CR",
        "KVP": "80",
    },
    "a detector of some type": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "Modality": "DX",
        "DetectorType": "DIRECT",
        "PixelIntensityRelationship": "LIN",
        "ImagerPixelSpacing": ["0.1", "0.1"],
    },
    "ultrasound of a scanner with a name": {
        "SOPClassUID": US,
        "Modality": "US",
        "ManufacturerModelName": "x",
        "SoftwareVersions": "1",
    },
}


@pytest.mark.parametrize("table", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_that_is_filled_in_is_not_acquired(table: Table):
    assert judge(table, NAMED, GEOMETRY).origin is Origin.UNDETERMINED


@pytest.mark.parametrize(
    ("table", "more"),
    [
        (TEMPLATES["a tube voltage"], {"XRayTubeCurrent": "100"}),
        (TEMPLATES["a sequence with its times and echo train"], {"MagneticFieldStrength": "1.5"}),
        (TEMPLATES["a radiograph with a tube voltage"], {"ExposureTime": "10"}),
        (TEMPLATES["a detector of some type"], {"ExposureIndex": "300"}),
        (
            TEMPLATES["ultrasound of a scanner with a name"],
            {"SequenceOfUltrasoundRegions": [{"PhysicalDeltaX": 0.03, "PhysicalDeltaY": 0.03}]},
        ),
    ],
)
def test_one_more_value_of_physics_makes_it_acquired(table: Table, more: Table):
    assert judge(table, NAMED, GEOMETRY, more).origin is Origin.ACQUIRED


THIN = {
    "more-es-pentax-video": [
        "Manufacturer",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "AcquisitionDateTime",
        "ImageType",
    ],
    "less-tomotherapy": ["KVP", "DeviceSerialNumber", "SoftwareVersions", "AcquisitionDate", "ImageType"],
    "us-logiq-1997": ["NumberOfStages", "SoftwareVersions", "DeviceSerialNumber"],
    "less-cr-minimal": ["PlateType", "DeviceSerialNumber", "AcquisitionTime"],
}


@pytest.mark.parametrize(("name", "missing"), [(name, one) for name, all_ in THIN.items() for one in all_])
def test_of_a_thin_header_nothing_is_dispensable(name: str, missing: str):
    header = next(case.header for case in REAL if case.name == name)
    assert judge(header).origin is Origin.ACQUIRED
    rest = {key: value for key, value in header.items() if key != missing}
    assert judge(rest).origin is Origin.UNDETERMINED


# Captures

SCANNER: Table = {
    "SOPClassUID": SECONDARY_CAPTURE,
    "Modality": "CT",
    "ConversionType": "WSD",
    "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"],
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ManufacturerModelName": "Revolution EVO",
    "SoftwareVersions": "gmp_edo.34",
    "KVP": "120",
    "Exposure": "21",
    "ScanOptions": "HELICAL MODE",
}


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"SecondaryCaptureDeviceManufacturer": "GE MEDICAL SYSTEMS"},
        {"SecondaryCaptureDeviceManufacturerModelName": "revolution evo"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {
            "Modality": "NM",
            "KVP": "",
            "Exposure": "",
            "CountsAccumulated": "1200",
            "EnergyWindowInformationSequence": [{"EnergyWindowName": "Tc99m"}],
            "ActualFrameDuration": "2000",
        },
    ],
)
def test_a_capture_by_the_scanner_itself_is_acquired(table: Table):
    assert judge(table, SCANNER).origin is Origin.ACQUIRED


@pytest.mark.parametrize(
    "table",
    [
        {"SecondaryCaptureDeviceManufacturer": "Acme PACS"},
        {"SecondaryCaptureDeviceManufacturerModelName": "Workstation"},
        {"SourceImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3"}]},
        {"ConversionType": "SI"},
        {"ConversionType": "DF"},
        {"ConversionType": ""},
        {"Modality": "OT"},
        {"KVP": "", "Exposure": "", "ScanOptions": ""},
    ],
)
def test_a_capture_by_anything_else_is_undetermined(table: Table):
    assert judge(table, SCANNER).origin is Origin.UNDETERMINED
