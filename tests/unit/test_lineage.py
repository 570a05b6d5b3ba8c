"""What a copy that Orthanc made inherits from its source."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from orthanc_provenance.lineage import inherit
from orthanc_provenance.model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, State, Strength

ACQUIRED = Assessment(
    Origin.ACQUIRED,
    evidence=(Evidence("acquisition.ct", "(0018,0060)", "120", Axis.ORIGIN, "acquired", Strength.EQUIPMENT),),
)
STRIPPED = Assessment(
    Origin.UNDETERMINED,
    Privacy(identity_removed=True),
    evidence=(Evidence("deid", "(0012,0062)", "YES", Axis.PRIVACY, "identity-removed", Strength.DECLARED),),
)
GENERATED = Assessment(Origin.AI_GENERATED)


def test_a_copy_that_lost_its_acquisition_evidence_stays_acquired_and_privacy_protected() -> None:
    inherited = inherit(STRIPPED, ACQUIRED, "AnonymizedFrom")

    assert inherited.state is State.PRIVACY_PROTECTED
    assert Modifier.INHERITED in inherited.modifiers
    assert inherited.evidence[-1].attribute == "AnonymizedFrom"


@pytest.mark.parametrize("origin", [Origin.AI_GENERATED, Origin.SIMULATED, Origin.AI_DERIVED])
@pytest.mark.parametrize("copy", [ACQUIRED, STRIPPED])
def test_anonymising_never_makes_a_synthetic_object_real(copy: Assessment, origin: Origin) -> None:
    assert inherit(copy, Assessment(origin), "AnonymizedFrom").origin is origin


def test_the_label_that_our_own_stamp_gave_the_source_is_no_label_of_the_copy() -> None:
    copy = Assessment(Origin.AI_GENERATED, labelled=True)

    assert not inherit(copy, GENERATED, "ModifiedFrom").labelled


def test_a_label_of_the_source_stays() -> None:
    copy, source = (Assessment(Origin.AI_GENERATED, labelled=True) for _ in range(2))

    assert inherit(copy, source, "ModifiedFrom").labelled


def test_evidence_against_the_copy_is_not_overruled_by_a_real_source() -> None:
    text = Evidence("words", "(0008,103E)", "GAN", Axis.ORIGIN, "ai-generated", Strength.TEXT)
    copy = Assessment(Origin.UNDETERMINED, modifiers=(Modifier.CONFLICT,), evidence=(text,))

    assert inherit(copy, ACQUIRED, "ModifiedFrom") == copy


CONTRADICTION = Evidence(
    "conflict.own-source", "(0008,0018)", "its own source", Axis.MODIFIER, "conflict", Strength.DECLARED
)


@pytest.mark.parametrize("copy", [ACQUIRED, STRIPPED])
def test_stripping_a_header_does_not_settle_what_contradicted_itself(copy: Assessment) -> None:
    source = replace(ACQUIRED, modifiers=(Modifier.CONFLICT,), evidence=(*ACQUIRED.evidence, CONTRADICTION))

    inherited = inherit(copy, source, "AnonymizedFrom")

    assert inherited.origin is Origin.ACQUIRED
    assert Modifier.CONFLICT in inherited.modifiers
    assert "lineage.anonymizedfrom-conflict" in {found.marker for found in inherited.evidence}


def test_anonymising_settles_whether_identity_was_removed() -> None:
    contradiction = replace(CONTRADICTION, marker="conflict.identity-removed")
    source = replace(ACQUIRED, modifiers=(Modifier.CONFLICT,), evidence=(*ACQUIRED.evidence, contradiction))

    assert Modifier.CONFLICT not in inherit(STRIPPED, source, "AnonymizedFrom").modifiers


def test_an_object_that_could_not_be_assessed_stays_so() -> None:
    failed = Assessment.failed("KeyError while assessing it")

    assert inherit(failed, ACQUIRED, "ModifiedFrom") == failed


@pytest.mark.parametrize(("copy", "source"), list(product(Origin, Origin)))
def test_a_copy_is_never_less_suspicious_than_its_source(copy: Origin, source: Origin) -> None:
    inherited = inherit(Assessment(copy), Assessment(source), "ModifiedFrom").origin

    if source.may_be_labelled and copy is not Origin.NON_IMAGE:
        assert inherited.may_be_labelled
