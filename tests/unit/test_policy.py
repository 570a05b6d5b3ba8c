"""The research policy, as section 7 of the design states it, and what must hold for any study."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_provenance.config import Route
from orthanc_provenance.model import Origin, Verdict
from orthanc_provenance.policy import Content, decide

ROUTE = Route()


def content(series: str, origin: Origin, **values: bool) -> Content:
    defaults = {"labelled": False, "structured": True, "identity_removed": False, "flawed": False}
    return Content(series, origin, **{**defaults, **values})


def verdict(one: Content, route: Route = ROUTE) -> tuple[Verdict, tuple[str, ...]]:
    (decision,) = decide([one], route).values()
    return decision.verdict, decision.reasons


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (content("a", Origin.ACQUIRED), Verdict.RELEASE),
        (content("a", Origin.ACQUIRED, identity_removed=True), Verdict.RELEASE),
        (content("a", Origin.AI_DERIVED), Verdict.RELEASE),
        (content("a", Origin.AI_DERIVED, structured=False), Verdict.WITHHOLD),
        (content("a", Origin.AI_GENERATED), Verdict.BLOCK),
        (content("a", Origin.SIMULATED), Verdict.BLOCK),
        (content("a", Origin.AI_GENERATED, labelled=True), Verdict.WITHHOLD),
        (content("a", Origin.SIMULATED, labelled=True), Verdict.WITHHOLD),
        (content("a", Origin.UNDETERMINED), Verdict.WITHHOLD),
        (content("a", Origin.ACQUIRED, flawed=True), Verdict.WITHHOLD),
        (content("a", Origin.NON_IMAGE), Verdict.RELEASE),
        (content("a", Origin.ACQUIRED, conflict=True), Verdict.WITHHOLD),
        (content("a", Origin.AI_DERIVED, conflict=True), Verdict.WITHHOLD),
        (content("a", Origin.NON_IMAGE, conflict=True), Verdict.WITHHOLD),
        (content("a", Origin.SIMULATED, conflict=True), Verdict.BLOCK),
    ],
)
def test_each_origin_has_its_default_verdict_and_a_reason(one: Content, expected: Verdict) -> None:
    found, reasons = verdict(one)
    assert found is expected
    assert reasons


def test_what_contradicts_itself_is_withheld_for_that_reason_unless_more_speaks_against_it() -> None:
    assert verdict(content("a", Origin.ACQUIRED, conflict=True))[1] == ("conflict",)
    assert verdict(content("a", Origin.AI_GENERATED, conflict=True))[1] == ("unlabelled-synthetic",)
    found = decide([content("a", Origin.ACQUIRED, conflict=True), content("b", Origin.ACQUIRED)], ROUTE)
    assert found["b"].verdict is Verdict.RELEASE


def test_an_unlabelled_synthetic_instance_blocks_the_whole_study() -> None:
    study = [content("a", Origin.ACQUIRED), content("b", Origin.NON_IMAGE), content("c", Origin.AI_GENERATED)]
    assert {decision.verdict for decision in decide(study, ROUTE).values()} == {Verdict.BLOCK}
    assert {decision.reasons for decision in decide(study, ROUTE).values()} == {("unlabelled-synthetic",)}


def test_a_withheld_series_leaves_the_others_alone() -> None:
    found = decide([content("a", Origin.ACQUIRED), content("b", Origin.UNDETERMINED)], ROUTE)
    assert (found["a"].verdict, found["b"].verdict) == (Verdict.RELEASE, Verdict.WITHHOLD)


def test_what_has_no_pixels_goes_with_the_rest_of_its_study() -> None:
    report = content("r", Origin.NON_IMAGE)
    assert decide([report, content("a", Origin.ACQUIRED)], ROUTE)["r"].verdict is Verdict.RELEASE
    held = decide([report, content("a", Origin.ACQUIRED), content("b", Origin.UNDETERMINED)], ROUTE)["r"]
    assert (held.verdict, held.reasons) == (Verdict.WITHHOLD, ("rest-of-study-withheld",))


def test_a_series_is_as_closed_as_its_most_closed_instance() -> None:
    found = decide([content("a", Origin.ACQUIRED), content("a", Origin.UNDETERMINED)], ROUTE)
    assert (found["a"].verdict, found["a"].reasons) == (Verdict.WITHHOLD, ("undetermined",))


def test_a_route_may_allow_the_undetermined_but_never_the_flawed_or_contradictory() -> None:
    route = replace(ROUTE, allow_undetermined=True)
    assert verdict(content("a", Origin.UNDETERMINED, conflict=True), route)[0] is Verdict.WITHHOLD
    assert verdict(content("a", Origin.UNDETERMINED), route)[0] is Verdict.RELEASE
    assert verdict(content("a", Origin.UNDETERMINED, flawed=True), route)[0] is Verdict.WITHHOLD
    assert verdict(content("a", Origin.AI_GENERATED), route)[0] is Verdict.BLOCK


@pytest.mark.parametrize("origin", [Origin.ACQUIRED, Origin.AI_DERIVED, Origin.NON_IMAGE])
def test_a_route_may_demand_that_identity_is_removed(origin: Origin) -> None:
    route = replace(ROUTE, require_identity_removed=True)
    found, reasons = verdict(content("a", origin), route)
    assert found is Verdict.WITHHOLD
    assert "identity-not-removed" in reasons
    assert verdict(content("a", origin, identity_removed=True), route)[0] is Verdict.RELEASE


CONTENTS = st.lists(
    st.builds(
        Content,
        series=st.sampled_from("abc"),
        origin=st.sampled_from(Origin),
        labelled=st.booleans(),
        structured=st.booleans(),
        identity_removed=st.booleans(),
        flawed=st.booleans(),
        conflict=st.booleans(),
    ),
    max_size=6,
)
ROUTES = st.builds(Route, require_identity_removed=st.booleans(), allow_undetermined=st.booleans())
CLOSEDNESS = {Verdict.RELEASE: 0, Verdict.WITHHOLD: 1, Verdict.BLOCK: 2}


@given(CONTENTS, ROUTES)
def test_no_synthetic_content_is_ever_released_and_unlabelled_blocks_all(
    study: list[Content], route: Route
) -> None:
    found = decide(study, route)
    assert set(found) == {one.series for one in study}
    assert all(decision.reasons for decision in found.values())
    for one in study:
        if one.origin.is_synthetic or one.flawed or one.conflict:
            assert found[one.series].verdict is not Verdict.RELEASE
        if one.origin.is_synthetic and not one.labelled:
            assert {decision.verdict for decision in found.values()} == {Verdict.BLOCK}


@given(CONTENTS, CONTENTS, ROUTES)
def test_more_content_never_opens_a_series_that_has_pixels(
    study: list[Content], more: list[Content], route: Route
) -> None:
    before, after = decide(study, route), decide([*study, *more], route)
    for series, decision in before.items():
        assert CLOSEDNESS[after[series].verdict] >= CLOSEDNESS[decision.verdict]


@given(CONTENTS, ROUTES, st.randoms(use_true_random=False))
def test_the_order_of_a_study_does_not_matter(study: list[Content], route: Route, random: object) -> None:
    mixed = list(study)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert decide(mixed, route) == decide(study, route)
