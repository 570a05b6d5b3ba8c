from __future__ import annotations

from collections import Counter

import pytest
from evidence_corpus import Case, cases
from evidence_samples import shipped

from orthanc_provenance.assessment import assess
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.model import Assessment, Axis, Modifier, Origin

MADE = ("generated", "simulated", "ai")
FAMILIES = ("acquired", "friends", "equipment", *MADE)
ALL = [pytest.param(case, id=f"{family}/{case.name}") for family in FAMILIES for case in cases(family)]
REAL = [case for family in ("acquired", "friends", "phrases-real") for case in cases(family)]


def judge(case: Case) -> Assessment:
    return assess(example_header(case.header), shipped())


@pytest.mark.parametrize("case", ALL)
def test_the_origin_is_right(case: Case):
    assessment = judge(case)
    told = [evidence for evidence in assessment.evidence if evidence.axis is Axis.ORIGIN]
    assert assessment.origin.value in case.origin, told
    assert {modifier.value for modifier in assessment.modifiers} >= set(case.modifiers)


@pytest.mark.parametrize("case", cases("phrases-made"), ids=lambda case: case.name)
def test_words_about_making_leave_nothing_acquired(case: Case):
    assert judge(case).origin is not Origin.ACQUIRED


@pytest.mark.parametrize("case", cases("phrases-made"), ids=lambda case: case.name)
def test_words_in_free_text_make_nothing_synthetic(case: Case):
    assessment = judge(case)
    structured = any(
        evidence.strength.is_structured for evidence in assessment.evidence if evidence.axis is Axis.ORIGIN
    )
    assert structured is (assessment.origin is not Origin.UNDETERMINED)
    assert structured or Modifier.CONFLICT in assessment.modifiers


@pytest.mark.parametrize("case", cases("phrases-real"), ids=lambda case: case.name)
def test_what_only_sounds_alike_is_acquired(case: Case):
    assert judge(case).origin is Origin.ACQUIRED


@pytest.mark.parametrize("case", REAL, ids=lambda case: case.name)
def test_a_real_object_contradicts_nothing(case: Case):
    assert "conflict" not in {modifier.value for modifier in judge(case).modifiers}


def test_the_corpus_is_broad():
    counted = Counter(family for family in FAMILIES for _ in cases(family))
    assert counted.total() >= 250
    assert min(counted.values()) >= 50
    assert min(len(cases("phrases-made")), len(cases("phrases-real"))) >= 150


@pytest.mark.parametrize("family", FAMILIES)
def test_each_case_has_a_name_of_its_own(family: str):
    names = [case.name for case in cases(family)]
    assert sorted(set(names)) == sorted(names)


def test_nothing_made_is_called_acquired_where_that_would_be_wrong():
    wrong = [
        case.name
        for family in MADE
        for case in cases(family)
        if "acquired" not in case.origin and judge(case).origin is Origin.ACQUIRED
    ]
    assert wrong == []
