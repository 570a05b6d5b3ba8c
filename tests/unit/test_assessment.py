from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import (
    BASIC_TEXT_SR,
    CONVERTED,
    DATA,
    PRESENTATION_STATE,
    REAL_CT,
    REAL_MR,
    REAL_US,
    SECONDARY_CAPTURE,
    Table,
    code,
    equipment,
    labels,
    merged,
    shipped,
)

from orthanc_provenance.assessment import assess
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.model import Assessment, Axis, Modifier, Origin, State

SOURCES: Table = {"SourceImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3"}]}
DECLARED: Table = {"SyntheticData": "YES"}


def judge(*tables: Table, **arguments: Any) -> Assessment:
    return assess(example_header(merged(*tables)), shipped(), **arguments)


@pytest.mark.parametrize("label", labels(), ids=lambda label: label["path"])
def test_real_files_are_assessed_as_labelled(label: dict[str, Any]):
    assessment = assess(read_header((DATA / label["path"]).read_bytes()), shipped())
    assert assessment.origin.value in label["origin"]
    if label["identity_removed"] is not None:
        assert assessment.privacy.identity_removed is label["identity_removed"]


@pytest.mark.parametrize("real", [REAL_CT, REAL_MR, REAL_US])
def test_what_real_equipment_writes_makes_an_original(real: Table):
    assert judge(real).state is State.ORIGINAL


def test_image_type_original_alone_proves_nothing():
    table = {"SOPClassUID": REAL_CT["SOPClassUID"], "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    assert judge(table).origin is Origin.UNDETERMINED


@pytest.mark.parametrize("converted", CONVERTED)
def test_a_converted_volume_is_not_acquired(converted: Table):
    assessment = judge(converted)
    assert assessment.origin is Origin.UNDETERMINED
    assert Modifier.CONVERTED in assessment.modifiers


def test_acquisition_attributes_copied_by_a_converter_are_hearsay():
    assert judge({"ProtocolName": "nii2dcm_DICOM"}, REAL_MR).origin is Origin.UNDETERMINED


def test_a_secondary_capture_is_undetermined_whatever_it_copies():
    assert judge({"SOPClassUID": SECONDARY_CAPTURE}, REAL_CT).origin is Origin.UNDETERMINED


@pytest.mark.parametrize(
    ("tables", "origin"),
    [
        ((DECLARED,), Origin.AI_GENERATED),
        ((DECLARED, REAL_CT), Origin.AI_GENERATED),
        ((DECLARED, SOURCES), Origin.AI_DERIVED),
        ((DECLARED, {"DerivationCodeSequence": [code("113085")]}), Origin.AI_DERIVED),
        ((DECLARED, {"Manufacturer": "MONAI Deploy"}), Origin.AI_DERIVED),
        ((DECLARED, {"Manufacturer": "DICOMator"}), Origin.SIMULATED),
        ((DECLARED, SOURCES, {"Manufacturer": "VICTRE"}), Origin.SIMULATED),
        ((DECLARED, SOURCES, {"ManufacturerModelName": "StyleGAN2"}), Origin.AI_GENERATED),
        (({"ContributingEquipmentSequence": equipment("x", "y", "109100")},), Origin.AI_GENERATED),
        (({"ContributingEquipmentSequence": equipment("x", "y", "109100")}, SOURCES), Origin.AI_DERIVED),
        (({"Manufacturer": "DICOMator"}, REAL_CT), Origin.SIMULATED),
        (({"ManufacturerModelName": "MAISI"}, REAL_CT), Origin.AI_GENERATED),
        (({"SeriesDescription": "SubtleGAD: T1"}, REAL_MR), Origin.AI_DERIVED),
        (({"SOPClassUID": PRESENTATION_STATE, "Manufacturer": "Lunit Inc."},), Origin.AI_DERIVED),
        (({"SOPClassUID": PRESENTATION_STATE},), Origin.NON_IMAGE),
        (({"SOPClassUID": BASIC_TEXT_SR},), Origin.NON_IMAGE),
        (({"SOPClassUID": BASIC_TEXT_SR}, DECLARED), Origin.AI_GENERATED),
    ],
)
def test_the_precedence_on_the_origin_axis(tables: tuple[Table, ...], origin: Origin):
    assert judge(*tables).origin is origin


@pytest.mark.parametrize(
    "compressed",
    [
        {"DerivationCodeSequence": [code("113040")]},
        {"DerivationCodeSequence": [code("113040")], **SOURCES},
        {"SourceImageSequence": [{"PurposeOfReferenceCodeSequence": [code("121320")]}]},
        {"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3"}]},
    ],
)
def test_compression_and_mere_references_are_no_sources(compressed: Table):
    assert judge(DECLARED, compressed).origin is Origin.AI_GENERATED


def test_an_algorithm_of_the_family_ai_makes_a_segmentation_ai_derived():
    algorithm = {"AlgorithmFamilyCodeSequence": [code("123110")]}
    segment = {"SegmentationAlgorithmIdentificationSequence": [algorithm]}
    assert judge({"SegmentSequence": [segment]}).origin is Origin.AI_DERIVED


@pytest.mark.parametrize("words", ["AI-generated CT", "Thorax AI-MAR", "SubtleMR T2"])
def test_words_alone_make_nothing_synthetic_but_doubt(words: str):
    assessment = judge({"SeriesDescription": words}, REAL_MR)
    assert assessment.origin is Origin.UNDETERMINED
    assert assessment.modifiers == (Modifier.CONFLICT,)


def test_an_undefined_value_of_synthetic_data_makes_doubt():
    assessment = judge(REAL_CT, {"SyntheticData": "MAYBE"})
    assert assessment.origin is Origin.UNDETERMINED
    assert Modifier.CONFLICT in assessment.modifiers


@pytest.mark.parametrize(
    ("tables", "labelled"),
    [
        ((DECLARED,), True),
        ((DECLARED, SOURCES), True),
        ((DECLARED, {"Manufacturer": "VICTRE"}), True),
        (({"ContributingEquipmentSequence": equipment("x", "y", "109100")},), True),
        (({"Manufacturer": "VICTRE"},), False),
        ((REAL_CT,), False),
        (({"SeriesDescription": "AI-generated CT"},), False),
    ],
)
def test_labelled_is_what_says_so_itself(tables: tuple[Table, ...], labelled: bool):
    assert judge(*tables).labelled is labelled
    assert judge(*tables, claimed_unlabelled=True).labelled is False


def test_what_its_own_stamp_added_is_no_evidence_beside_that_of_a_generator():
    as_received = judge({"Manufacturer": "VICTRE"})
    stamped = judge({"Manufacturer": "VICTRE"}, {"SyntheticData": "YES"}, claimed_unlabelled=True)
    assert stamped == as_received
    # It is all that is left where the equipment was removed since.
    left = judge({"SyntheticData": "YES"}, claimed_unlabelled=True)
    assert left.origin is Origin.AI_GENERATED
    assert [found.attribute for found in left.evidence] == ["(0008,001C)"]


def test_a_declaration_is_told_as_saying_what_was_settled():
    says = {found.says for found in judge(DECLARED, SOURCES).evidence if found.axis is Axis.ORIGIN}
    assert says == {"ai-derived"}


@pytest.mark.parametrize(
    "tables",
    [
        ({"SyntheticData": "NO", "Manufacturer": "VICTRE"},),
        ({"SyntheticData": "no ", "Manufacturer": "MONAI Deploy"},),
        ({"PatientIdentityRemoved": "NO", "DeidentificationMethod": "DcmGet metadata profile: basic"},),
    ],
)
def test_contradictions_are_named(tables: tuple[Table, ...]):
    assessment = judge(*tables)
    assert Modifier.CONFLICT in assessment.modifiers
    assert any(found.marker.startswith("conflict.") for found in assessment.evidence)


OWN: Table = {"ReferencedSOPInstanceUID": "1.2.3"}
OWN_SOURCE: tuple[Table, ...] = (
    {"SourceImageSequence": [OWN]},
    {"SourceImageSequence": [{"ReferencedSOPInstanceUID": "1.2.4"}, OWN]},
    {"SourceImageSequence": [OWN], "DerivationCodeSequence": [code("113072")]},
    {"SourceInstanceSequence": [OWN]},
    {"SharedFunctionalGroupsSequence": [{"DerivationImageSequence": [{"SourceImageSequence": [OWN]}]}]},
)


@pytest.mark.parametrize("table", OWN_SOURCE)
@pytest.mark.parametrize("base", [REAL_CT, DECLARED, {"Manufacturer": "MONAI Deploy"}])
def test_an_object_that_names_itself_as_its_source_is_a_conflict(base: Table, table: Table):
    assessment = judge({"SOPInstanceUID": "1.2.3"}, table, base)
    assert Modifier.CONFLICT in assessment.modifiers
    assert "conflict.own-source" in {found.marker for found in assessment.evidence}
    assert assessment.origin is judge({"SOPInstanceUID": "1.2.9"}, table, base).origin


@pytest.mark.parametrize(
    "table",
    [
        {"SourceImageSequence": [{**OWN, "PurposeOfReferenceCodeSequence": [code("121320")]}]},
        {"SourceImageSequence": [OWN], "DerivationCodeSequence": [code("113040")]},
        {"ReferencedImageSequence": [OWN]},
        {"SourceImageSequence": [{"ReferencedSOPInstanceUID": "1.2.4"}]},
    ],
)
def test_compression_and_mere_references_make_no_object_its_own_source(table: Table):
    assert judge({"SOPInstanceUID": "1.2.3"}, table, REAL_CT).modifiers == ()


@pytest.mark.parametrize(
    "table", [{"SyntheticData": "NO"}, {"PatientIdentityRemoved": "NO"}, {"PatientIdentityRemoved": "YES"}]
)
def test_a_plain_statement_is_no_conflict(table: Table):
    assessment = judge(table, REAL_CT)
    assert assessment.origin is Origin.ACQUIRED
    assert assessment.modifiers == ()


def test_an_object_that_says_its_identity_is_not_removed_is_believed():
    assert not judge({"PatientIdentityRemoved": "NO", "DeidentificationMethod": "x"}).privacy.identity_removed


@pytest.mark.parametrize(
    ("table", "defaced"),
    [
        ({"RecognizableVisualFeatures": "NO"}, False),
        ({"DeidentificationMethodCodeSequence": [code("113102")]}, False),
        (
            {"RecognizableVisualFeatures": "NO", "DeidentificationMethodCodeSequence": [code("113102")]},
            True,
        ),
        ({"DeidentificationMethod": "mri_reface 0.3.3"}, True),
        ({"SeriesDescription": "T1_defaced"}, False),
    ],
)
def test_defaced_needs_more_than_a_claim(table: Table, defaced: bool):
    assert judge(REAL_MR, table).privacy.defaced is defaced


def test_privacy_protected_is_the_state_of_an_acquired_object_with_a_privacy_flag():
    assert judge(REAL_CT, {"PatientIdentityRemoved": "YES"}).state is State.PRIVACY_PROTECTED
    assert judge(DECLARED, {"PatientIdentityRemoved": "YES"}).state is State.AI_GENERATED


def test_modifiers_of_an_acquired_object():
    deep_resolve = {"ImageType": ["DERIVED", "PRIMARY", "M", "DRB"], "Manufacturer": "SIEMENS"}
    assessment = judge(deep_resolve, {"QualityControlImage": "YES"}, REAL_MR)
    assert assessment.origin is Origin.ACQUIRED
    assert assessment.modifiers == (
        Modifier.AI_RECONSTRUCTION,
        Modifier.CONVENTIONAL_DERIVATION,
        Modifier.PHANTOM,
    )


def test_a_conventional_derivation_is_told_of_acquired_objects_only():
    assert Modifier.CONVENTIONAL_DERIVATION not in judge(DECLARED, {"ImageType": ["DERIVED"]}).modifiers
