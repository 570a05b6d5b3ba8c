from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import code, equipment, shipped

from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.evidence.explain import Explanation, HeldOff, explain
from orthanc_provenance.evidence.matcher import match


def explained(table: dict[str, Any]) -> Explanation:
    return explain(shipped(), example_header(table))


def held_off(table: dict[str, Any], marker: str) -> HeldOff:
    (found,) = (held for held in explained(table).held_off if held.marker == marker)
    return found


DEEP_RESOLVE = {"Manufacturer": "SIEMENS", "ImageType": ["ORIGINAL", "PRIMARY", "M", "DRB"]}


def test_what_matched_is_what_the_matcher_finds():
    table = {**DEEP_RESOLVE, "Modality": "MR", "SyntheticData": "YES", "DeidentificationMethod": "DICOGNITO"}
    assert explained(table).matched == match(shipped(), example_header(table))
    assert explained(table).held_off == ()


def test_a_guard_that_holds_a_marker_off_is_told_with_what_it_found():
    assert held_off({**DEEP_RESOLVE, "Modality": "CT"}, "reconstruction.deep-resolve") == HeldOff(
        marker="reconstruction.deep-resolve",
        attribute="(0008,0008)",
        value="DRB",
        guard="Modality equals MR",
        guard_found="CT",
    )


def test_a_guard_that_finds_nothing_says_so():
    assert held_off(DEEP_RESOLVE, "reconstruction.deep-resolve").guard_found == ""


def test_an_exception_is_told_in_words():
    table = {"Manufacturer": "Xoran Technologies", "ManufacturerModelName": "xCAT"}
    found = held_off(table, "simulator.xcat-word")
    assert (found.guard, found.guard_found) == ("unless Manufacturer token Xoran", "Xoran Technologies")


def test_an_exception_of_several_conditions_names_all():
    table = {
        "Modality": "MR",
        "ClinicalTrialProtocolID": "P",
        "ClinicalTrialSponsorName": "S",
        "RecognizableVisualFeatures": "NO",
        "DeidentificationMethodCodeSequence": [code("113100"), code("113102")],
    }
    found = held_off(table, "defacing.coded")
    assert found.attribute == "(0012,0064)[2]"
    assert found.guard.startswith(
        "unless DeidentificationMethod absent and ClinicalTrialProtocolID present and"
    )
    assert found.guard_found == "P, S, MR"


def test_a_marker_held_off_in_an_item_names_the_way():
    table = {"ContributingEquipmentSequence": [*equipment("x", "y"), *equipment("PyMedPhys")]}
    assert held_off(table, "deid.pymedphys").attribute == "(0018,A001)[2]>(0008,0070)"


@pytest.mark.parametrize(
    "table",
    [{"PatientName": "StyleGAN2"}, {"KVP": "120"}, {"SeriesDescription": "GANTRY"}, {"Modality": "CT"}],
)
def test_where_no_pattern_is_found_nothing_is_held_off(table: dict[str, Any]):
    assert explained(table) == Explanation((), ())


def test_what_a_guard_found_is_quoted_printable_and_short():
    table = {**DEEP_RESOLVE, "Manufacturer": "A\nB" + "x" * 300, "Modality": "MR"}
    found = held_off(table, "reconstruction.deep-resolve").guard_found
    assert found.startswith("A?B")
    assert len(found) == 128
