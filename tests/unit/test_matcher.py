from __future__ import annotations

import struct
from pathlib import Path

import pytest
from evidence_samples import (
    PRESENTATION_STATE,
    REAL_CT,
    code,
    equipment,
    merged,
    shipped,
)

from orthanc_provenance.dicom.header import EXPLICIT_BIG, IMPLICIT_LITTLE, Header, read_header
from orthanc_provenance.evidence.acquisition import shipped_acquisition
from orthanc_provenance.evidence.catalogue import Catalogue, load_catalogue
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.evidence.matcher import GATEWAY, match
from orthanc_provenance.model import Evidence
from orthanc_provenance.stamp.elements import MANUFACTURER


def acquired(header):
    return shipped_acquisition().evidence(header)


def found(table: dict[str, object]) -> dict[str, Evidence]:
    return {evidence.marker: evidence for evidence in match(shipped(), example_header(table))}


def implicit(*elements: tuple[int, bytes]) -> Header:
    encoded = b"".join(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in elements
    )
    return Header(encoded, 0, IMPLICIT_LITTLE, meta=None)


def markers(header: Header) -> set[str]:
    return {evidence.marker for evidence in match(shipped(), header)}


@pytest.mark.parametrize("value", [b"YES", b"yes ", b"YES\0", b"  Yes  ", b"\\YES", b"YES\\"])
def test_a_code_string_is_read_without_regard_to_case_padding_and_empty_values(value: bytes):
    assert "standard.synthetic-data" in markers(implicit((0x0008001C, value)))


def test_a_value_of_unknown_vr_is_read():
    element = struct.pack("<HH2sHI", 0x0008, 0x001C, b"UN", 0, 4) + b"YES "
    header = read_header(bytes(128) + b"DICM" + META + element)
    assert markers(header) == {"standard.synthetic-data"}


def test_big_endian_is_read():
    element = struct.pack(">HH2sH", 0x0008, 0x001C, b"CS", 4) + b"YES "
    assert markers(Header(element, 0, EXPLICIT_BIG, meta=None)) == {"standard.synthetic-data"}


META = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"


def test_a_value_cut_to_the_length_of_its_vr_still_matches():
    assert "ai.research-writers" in found(
        {"ManufacturerModelName": "Mammography Enhancement Pipeline Output"}
    )
    assert "ai.research-writers" in found({"Manufacturer": "Mammography Enha"})


def test_non_ascii_text_is_decoded_by_its_character_set():
    header = example_header({"DeidentificationMethod": "Anonymisé à l'hôpital"})
    (evidence,) = match(shipped(), header)
    assert evidence.value == "Anonymisé à l'hôpital"


def test_evidence_names_the_path_with_items_counted_from_one():
    table = {
        "ContributingEquipmentSequence": [*equipment("Acme", "PACS"), *equipment("x", "StyleGAN2", "109102")]
    }
    assert found(table)["generator.gan"].attribute == "(0018,A001)[2]>(0008,1090)"


def test_code_evidence_names_the_item():
    table = {
        "DeidentificationMethodCodeSequence": [
            {"CodeValue": "113105", "CodingSchemeDesignator": "99X"},
            {"CodeValue": "113100", "CodingSchemeDesignator": "DCM"},
        ]
    }
    evidence = found(table)["standard.deidentification-code"]
    assert (evidence.attribute, evidence.value) == ("(0012,0064)[2]", "DCM:113100")


def test_words_in_a_description_are_quoted_without_their_surroundings():
    evidence = found({"SeriesDescription": "Doe John AI-generated CT of 1970"})["generator.words"]
    assert evidence.value == "AI-generated"
    evidence = found({"ImageComments": "created by John Doe with a neural network"})["generator.words"]
    assert evidence.value == "created by"


def test_a_private_block_is_found_wherever_it_was_reserved():
    header = implicit(
        (0x00130010, b"ACUSON"), (0x00130042, b"CTP "), (0x00131010, b"NO"), (0x00134210, b"LIDC-IDRI ")
    )
    (evidence,) = match(shipped(), header)
    assert (evidence.marker, evidence.attribute) == ("deid.ctp-block", "(0013,4210)")


@pytest.mark.parametrize("vr", [b"LO", b"UN"])
def test_a_private_value_is_found_by_its_creator_whatever_its_vr(vr: bytes):
    def long(tag: int, vr: bytes, value: bytes) -> bytes:
        size = struct.pack("<HI", 0, len(value)) if vr == b"UN" else struct.pack("<H", len(value))
        return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr) + size + value

    body = long(0x00080070, b"LO", b"GE MEDICAL SYSTEMS")
    body += long(0x00430029, b"LO", b"GEMS_PARM_01") + long(0x004329CA, vr, b"0.75\\High ")
    evidence = {
        found.marker: found for found in match(shipped(), read_header(bytes(128) + b"DICM" + META + body))
    }
    assert evidence["reconstruction.ge-air"].attribute == "(0043,29CA)"


def site(text: str, tmp_path: Path) -> Catalogue:
    entry = f"""
[[marker]]
id = "site.nested"
title = "x"
{text}
axis = "origin"
says = "ai-generated"
strength = "equipment"
source = "x"
"""
    (tmp_path / "site.toml").write_text(entry, encoding="utf-8")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.problems == ()
    return catalogue


def test_a_path_may_begin_with_a_private_sequence(tmp_path: Path):
    table = {'(0021,"ACME",FE)': [{"Manufacturer": "no"}, {"Manufacturer": "Dream"}]}
    catalogue = site(
        """attributes = '(0021,"ACME",FE)>Manufacturer'
equals = "Dream"
examples.match = [{ '(0021,"ACME",FE)' = [{ Manufacturer = "Dream" }] }]""",
        tmp_path,
    )
    (evidence,) = match(catalogue, example_header(table))
    assert (evidence.marker, evidence.attribute) == ("site.nested", "(0021,10FE)[2]>(0008,0070)")


def test_of_several_items_that_match_the_first_is_told():
    items = [*equipment("x", "none"), *equipment("x", "StyleGAN2"), *equipment("x", "StyleGAN3")]
    evidence = found({"ContributingEquipmentSequence": items})["generator.gan"]
    assert (evidence.attribute, evidence.value) == ("(0018,A001)[2]>(0008,1090)", "StyleGAN2")


def test_items_are_visited_up_to_a_bound():
    many = [{"ContentSequence": [{"ConceptCodeSequence": [code("123110")]}]}] * 1200
    assert "ai.algorithm-family" in found({"ContentSequence": many})
    plain = [{"ContentSequence": [{"ValueType": "TEXT"}]}] * 1200
    assert found({"ContentSequence": [*plain, {"ConceptCodeSequence": [code("123110")]}]}) == {}


def test_of_the_frames_only_the_first_is_looked_at():
    frame = {"DerivationImageSequence": [{"DerivationDescription": "generated by a GAN"}]}
    assert "generator.words" in found({"PerFrameFunctionalGroupsSequence": [frame]})
    assert found({"PerFrameFunctionalGroupsSequence": [{}, frame]}) == {}


def test_our_own_contributing_equipment_is_no_evidence():
    (item,) = equipment(GATEWAY, "StyleGAN2", "109103")
    assert found({"ContributingEquipmentSequence": [item]}) == {}
    assert "generator.gan" in found({"ContributingEquipmentSequence": [{**item, "Manufacturer": "x"}]})


def test_the_gateway_is_known_by_the_name_that_it_stamps():
    assert GATEWAY == MANUFACTURER


def test_evidence_does_not_depend_on_what_was_matched_before():
    table = merged({"Manufacturer": "VICTRE", "PatientIdentityRemoved": "YES"}, {"ImageType": ["DERIVED"]})
    first = match(shipped(), example_header(table))
    match(shipped(), example_header({"Manufacturer": "DICOMator", "ImageType": ["ORIGINAL"]}))
    assert match(shipped(), example_header(table)) == first


def test_functional_groups_show_an_acquisition():
    groups = {
        "CTAcquisitionDetailsSequence": [{"RotationDirection": "CW"}],
        "CTXRayDetailsSequence": [{"KVP": "120"}],
        "CTReconstructionSequence": [{"ConvolutionKernel": "B30s"}],
    }
    table = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}
    assert acquired(example_header(table)) == ()
    shared = acquired(example_header({**table, "SharedFunctionalGroupsSequence": [groups]}))
    assert {evidence.marker for evidence in shared} == {"acquisition.ct"}


@pytest.mark.parametrize("value", ["0", "0.000", "", "UNKNOWN", "NONE", " 0 "])
def test_zeros_and_placeholders_are_no_acquisition(value: str):
    table = {**REAL_CT, "KVP": value, "XRayTubeCurrent": value, "RotationDirection": value}
    assert acquired(example_header(REAL_CT))
    assert acquired(example_header(table)) == ()


def test_acquisition_attributes_of_another_kind_of_object_are_none():
    assert acquired(example_header({**REAL_CT, "SOPClassUID": PRESENTATION_STATE})) == ()


def test_acquisition_evidence_repeats_no_serial_number_and_no_time():
    table = {
        "SOPClassUID": REAL_CT["SOPClassUID"],
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": "50",
        "Manufacturer": "XEOS",
        "ManufacturerModelName": "AURA 10",
        "SoftwareVersions": "1.7.0",
        "DeviceSerialNumber": "A10001",
        "AcquisitionDate": "20240530",
        "AcquisitionTime": "110246",
    }
    evidence = acquired(example_header(table))
    assert [found.value for found in evidence] == ["50", "present", "present"]
