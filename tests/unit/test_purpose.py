"""What Contributing Equipment says about the origin depends on what it contributed (PS3.16 CID 7005)."""

from __future__ import annotations

import pytest
from evidence_samples import REAL_CT, Table, code, equipment, shipped

from orthanc_provenance.assessment import assess
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.evidence.explain import explain
from orthanc_provenance.evidence.matcher import GATEWAY
from orthanc_provenance.model import Modifier, Origin

PASSERS_BY = ("109101", "109104", "109105", "109106", "MEDIM", "FILMD")


def with_equipment(*items: list[Table]) -> Table:
    return {**REAL_CT, "ContributingEquipmentSequence": [item for found in items for item in found]}


def origin(*items: list[Table]) -> Origin:
    return assess(example_header(with_equipment(*items)), shipped()).origin


@pytest.mark.parametrize("purpose", [*PASSERS_BY, "109103"])
@pytest.mark.parametrize(("maker", "model"), [("Quibim", "Edge"), ("Enlitic", "ENDEX"), ("Acme", "SubtleMR")])
def test_an_ai_product_that_only_passed_the_object_on_made_nothing_of_it(
    maker: str, model: str, purpose: str
):
    header = example_header(with_equipment(equipment(maker, model, purpose)))
    assessment = assess(header, shipped())
    assert assessment.origin is Origin.ACQUIRED
    assert Modifier.CONFLICT not in assessment.modifiers


@pytest.mark.parametrize("purpose", ["", "109102"])
def test_an_ai_product_that_processed_the_object_is_told(purpose: str):
    assert origin(equipment("Subtle Medical", "SubtleMR", purpose)) is Origin.AI_DERIVED


@pytest.mark.parametrize("purpose", ["", "109102", "109100"])
def test_a_generator_that_processed_the_object_is_told(purpose: str):
    assert origin(equipment("x", "StyleGAN2", purpose)) is Origin.AI_GENERATED


def test_a_generator_as_modifying_equipment_is_no_more_than_words():
    assert origin(equipment("x", "StyleGAN2", "109103")) is Origin.UNDETERMINED
    both = equipment("x", "StyleGAN2", "109103"), equipment("x", "StyleGAN2", "109102")
    assert origin(*both) is origin(*reversed(both)) is Origin.AI_GENERATED


def test_synthesizing_equipment_always_counts():
    item = {"Manufacturer": "x", "PurposeOfReferenceCodeSequence": [code("109104"), code("109100")]}
    assert origin([item]) is Origin.AI_GENERATED


@pytest.mark.parametrize("purpose", ["109100", "109102", ""])
def test_whoever_takes_our_name_for_another_purpose_is_heard(purpose: str):
    assert origin(equipment(GATEWAY, "StyleGAN2", purpose)) is Origin.AI_GENERATED


def test_our_own_passage_is_no_evidence():
    assert origin(equipment(GATEWAY, "StyleGAN2", "109103")) is Origin.ACQUIRED


def test_a_de_identifier_still_says_that_identity_was_removed():
    table = with_equipment(equipment("Quibim", "Anonymizer", "109104"))
    assert assess(example_header(table), shipped()).privacy.identity_removed


def test_what_a_purpose_held_off_is_explained():
    explained = explain(shipped(), example_header(with_equipment(equipment("Quibim", "Edge", "109104"))))
    assert [(held.marker, held.guard_found) for held in explained.held_off] == [("ai.makers", "DCM:109104")]
