from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that everybody knows it by
from evidence_samples import BASIC_TEXT_SR, DICOMATOR, MONAI_DEPLOY, NII2DCM, VICTRE, Table, shipped
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from orthanc_provenance.assessment import assess
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.model import Assessment, Axis, Modifier, Origin

ALGORITHM = hd.AlgorithmIdentificationSequence(
    name="Lung lobes", version="1.0", family=codes.cid7162.ArtificialIntelligence
)
PIXELS = np.zeros((1, 16, 16), dtype=np.uint8)
PIXELS[0, 4:8, 4:8] = 1


def judge(dataset: Dataset) -> Assessment:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return assess(read_header(out.getvalue()), shipped())


def says(assessment: Assessment) -> set[str]:
    return {evidence.marker for evidence in assessment.evidence if evidence.axis is Axis.ORIGIN}


@pytest.fixture
def source() -> Dataset:
    """A CT slice, as far as an object made from it asks for its attributes."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID = generate_uid()
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.Manufacturer, image.KVP, image.XRayTubeCurrent = "SIEMENS", "120", "172"
    image.ConvolutionKernel = "B30s"
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(image, keyword, "")
    for keyword in ("StudyDate", "StudyTime", "StudyID", "ReferringPhysicianName"):
        setattr(image, keyword, "")
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1, 1], 1
    image.Rows = image.Columns = 16
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(16 * 16 * 2)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def common() -> dict[str, Any]:
    """What every object says of its series and of who wrote it."""
    return {
        "series_instance_uid": generate_uid(),
        "series_number": 100,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "Hospital",
        "manufacturer_model_name": "Research",
        "software_versions": "1",
        "device_serial_number": "1",
    }


def segmentation(source: Dataset, kind: str) -> Dataset:
    identified = ALGORITHM if kind == "AUTOMATIC" else None
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=kind,
        algorithm_identification=identified,
    )
    return hd.seg.Segmentation(
        source_images=[source],
        pixel_array=PIXELS,
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        **common(),
    )


def test_a_segmentation_by_an_ai_algorithm_is_ai_derived(source: Dataset):
    assessment = judge(segmentation(source, "AUTOMATIC"))
    assert assessment.origin is Origin.AI_DERIVED
    assert says(assessment) == {"ai.algorithm-family"}


def test_a_segmentation_by_hand_is_nobodys_ai(source: Dataset):
    assessment = judge(segmentation(source, "MANUAL"))
    assert assessment.origin is Origin.UNDETERMINED
    assert says(assessment) == set()


def parametric_map(source: Dataset) -> Dataset:
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="1",
        lut_explanation="probability",
        unit=codes.UCUM.NoUnits,
        value_range=[0.0, 1.0],
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.Tumor,
    )
    return hd.pm.ParametricMap(
        source_images=[source],
        pixel_array=PIXELS.astype(np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        **common(),
    )


def test_a_parametric_map_whose_values_an_ai_algorithm_defines_is_ai_derived(source: Dataset):
    made = parametric_map(source)
    mapping = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    mapping.QuantityDefinitionSequence.append(
        hd.sr.CodeContentItem(codes.DCM.AlgorithmFamily, codes.cid7162.ArtificialIntelligence)
    )
    assert judge(made).origin is Origin.AI_DERIVED


def test_a_parametric_map_without_a_word_about_its_algorithm_is_undetermined(source: Dataset):
    assessment = judge(parametric_map(source))
    assert assessment.origin is Origin.UNDETERMINED
    assert not assessment.privacy.defaced


def report(source: Dataset, *, by_algorithm: bool) -> Dataset:
    """A TID 1500 report of one measurement of one image."""
    person = hd.sr.PersonObserverIdentifyingAttributes(name="Doe^Jane")
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=person)
    identified = None
    if by_algorithm:
        identified = hd.sr.AlgorithmIdentification(name="Lung nodules", version="1")
    measurement = hd.sr.Measurement(
        name=codes.SCT.Diameter, value=5.0, unit=codes.UCUM.Millimeter, algorithm_id=identified
    )
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="1"),
        measurements=[measurement],
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(source)],
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
    )
    return hd.sr.ComprehensiveSR(
        evidence=[source],
        content=content,
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Hospital",
    )


def test_a_human_report_has_no_pixels_to_doubt(source: Dataset):
    assert judge(report(source, by_algorithm=False)).origin is Origin.NON_IMAGE


def test_a_report_that_names_an_algorithm_but_not_its_family_is_no_ai_result(source: Dataset):
    assert judge(report(source, by_algorithm=True)).origin is Origin.NON_IMAGE


def test_a_report_whose_algorithm_is_of_the_family_ai_is_ai_derived():
    # PS3.16 TID 4019 Algorithm Identification, which highdicom writes without its family.
    family: Table = {
        "ValueType": "CODE",
        "ConceptNameCodeSequence": [{"CodeValue": "111000", "CodingSchemeDesignator": "DCM"}],
        "ConceptCodeSequence": [{"CodeValue": "123110", "CodingSchemeDesignator": "DCM"}],
    }
    table = {"SOPClassUID": BASIC_TEXT_SR, "ContentSequence": [{"ContentSequence": [family]}]}
    assert assess(example_header(table), shipped()).origin is Origin.AI_DERIVED


def test_a_volume_that_simpleitk_writes_is_not_acquired(tmp_path: Path):
    volume = sitk.GetImageFromArray(np.zeros((1, 16, 16), dtype=np.int16))[:, :, 0]
    for key, value in {
        "0008|0016": CTImageStorage,
        "0008|0060": "CT",
        "0008|0008": "DERIVED\\SECONDARY",
        "0008|103e": "Created-SimpleITK",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0020|0032": "0\\0\\0",
        "0018|0050": "1",
    }.items():
        volume.SetMetaData(key, value)
    file = tmp_path / "slice.dcm"
    sitk.WriteImage(volume, str(file))
    assessment = assess(read_header(file.read_bytes()), shipped())
    assert assessment.origin is Origin.UNDETERMINED
    assert Modifier.CONVERTED in assessment.modifiers


@pytest.mark.parametrize(
    ("table", "origin"),
    [
        (VICTRE, Origin.SIMULATED),
        (DICOMATOR, Origin.SIMULATED),
        (MONAI_DEPLOY, Origin.AI_DERIVED),
        (NII2DCM, Origin.UNDETERMINED),
    ],
    ids=["VICTRE", "DICOMator", "MONAI Deploy", "nii2dcm"],
)
def test_what_other_tools_write_literally_comes_out_as_it_is(table: Table, origin: Origin):
    assert assess(example_header(table), shipped()).origin is origin
