"""SyntheticData=YES says that content is artificial, not how: what saw the complete object settles that."""

from __future__ import annotations

import pytest
from dicom_samples import decode, encode, image
from evidence_samples import shipped
from signed_samples import OURS, STRANGER, THEIRS, assessed, trusted, with_stamp

from orthanc_provenance.assessment import assess
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.intake import assess_received
from orthanc_provenance.lineage import inherit
from orthanc_provenance.model import Assessment, Modifier, Origin
from orthanc_provenance.stamp.statement import Signer

LEFT = image(SyntheticData="YES")
"""What a de-identification has left of an object whose description told that it was simulated."""
NAMED = image(SyntheticData="YES", ManufacturerModelName="StyleGAN2")


def received(data: bytes) -> Assessment:
    header = read_header(data)
    return assess_received(header, shipped(), trusted(), pixel_digest(header))


@pytest.mark.parametrize("signer", [OURS, THEIRS])
@pytest.mark.parametrize("origin", [Origin.SIMULATED, Origin.AI_DERIVED])
def test_a_trusted_statement_settles_how(signer: Signer, origin: Origin):
    settled = received(with_stamp(encode(LEFT), assessed(origin, labelled=True), signer))

    assert settled.origin is origin
    assert settled.modifiers == (Modifier.INHERITED,)


def test_a_claim_settles_nothing_and_contradicts_nothing():
    for signer in (STRANGER, None):
        claimed = received(with_stamp(encode(LEFT), assessed(Origin.SIMULATED, labelled=True), signer))

        assert claimed.origin is Origin.AI_GENERATED
        assert Modifier.CONFLICT not in claimed.modifiers


def test_a_named_generator_is_not_argued_away():
    named = received(with_stamp(encode(NAMED), assessed(Origin.AI_DERIVED, labelled=True), THEIRS))

    assert named.origin is Origin.AI_GENERATED
    assert Modifier.CONFLICT in named.modifiers


@pytest.mark.parametrize("origin", [Origin.ACQUIRED, Origin.UNDETERMINED])
def test_a_declaration_is_not_argued_away(origin: Origin):
    assert received(with_stamp(encode(LEFT), assessed(origin), THEIRS)).origin is Origin.AI_GENERATED


@pytest.mark.parametrize("origin", [Origin.SIMULATED, Origin.AI_DERIVED])
def test_the_source_of_a_copy_settles_how(origin: Origin):
    copy = assess(read_header(encode(LEFT)), shipped())

    assert inherit(copy, assessed(origin), "AnonymizedFrom").origin is origin
    assert inherit(copy, assessed(Origin.ACQUIRED), "AnonymizedFrom").origin is Origin.AI_GENERATED


def test_the_source_does_not_outweigh_a_generator_that_the_copy_names():
    copy = assess(read_header(encode(NAMED)), shipped())

    assert inherit(copy, assessed(Origin.SIMULATED), "ModifiedFrom").origin is Origin.AI_GENERATED


def test_trusted_statements_that_contradict_each_other_are_a_conflict():
    first = with_stamp(encode(LEFT), assessed(Origin.AI_GENERATED, labelled=True), THEIRS)
    moved = with_stamp(encode(LEFT), assessed(Origin.SIMULATED, labelled=True), THEIRS)
    dataset, other = decode(first), decode(moved)
    for element in other.group_dataset(0x0099):
        number = element.tag.element + (0x100 if element.tag.element > 0xFF else 1)
        dataset.add_new((0x0099, number), element.VR, element.value)
    both = received(encode(dataset))

    assert both.origin is Origin.AI_GENERATED
    assert Modifier.CONFLICT in both.modifiers
