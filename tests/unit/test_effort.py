"""Regular expressions of a site are searched in every object that is sent: they must come to an end."""

from __future__ import annotations

import re

import pytest
from evidence_samples import ENTRY, load_site, shipped

from orthanc_provenance.evidence.effort import refuse_endless, worst_steps
from orthanc_provenance.evidence.language import MAX_INPUT

ENDLESS = [
    "z?" + "a?" * 23 + "a" * 23 + "b",
    "(?:a|aa)" * 22 + "b",
    r"\w{0,64}\w{0,64}\w{0,64}\w{0,64}!",
    "(a|ab|b)" * 26 + "x",
    r"[a-z]?\w?" * 12 + "!",
    r"(?=\w{0,60}\w{0,60}\w{0,60}!)x",
    r"\w{0,60}(?=\w{0,60}\w{0,60}!)x",
    ".*a.*b",
    "(.*a)?.*b",
]
BOUNDED = [
    "a?b?c?d?e?f?g?h?i?j?k?l?m?n?o?p?q?r?s?t?u?v?w?x?!",
    "(ab|cd)" * 20 + "x",
    "(a|ab|abc)" * 16 + "x",
    r"\w{1,20} \w{1,20} \w{1,20} \w{1,20}",
    "Dream.*Factory",
    "Dream.*Factory.*",
    r"^.*a.*b",
    r"\b(scan|scanner|scanning|scanned) (by|with) (Dream|Dreams) ?\d{1,4}\b",
]


@pytest.mark.parametrize("expression", ENDLESS)
def test_what_may_be_read_in_too_many_ways_is_refused_with_a_suggestion(expression: str):
    with pytest.raises(ValueError, match=r"too many ways .*; write fewer"):
        refuse_endless(expression, MAX_INPUT)


@pytest.mark.parametrize("expression", BOUNDED)
def test_what_can_be_read_in_few_ways_is_not(expression: str):
    refuse_endless(expression, MAX_INPUT)
    # Cheap enough to be tried where it takes longest.
    assert re.search(expression, "ab" * 500) is None or expression.startswith("^")


def test_ways_multiply_only_where_the_same_letters_can_be_read_twice():
    assert worst_steps("a?" * 10 + "a", 64) > 2**10
    assert worst_steps("a?b?c?d?e?f?g?h?i?j?z", 64) < 2**12
    assert worst_steps("^a*b", 64) < worst_steps("a*b", 64) < worst_steps("a*a*b", 64)


@pytest.mark.parametrize("kind", ["regex", "words"])
@pytest.mark.parametrize("where", ["pattern", "guard"])
def test_the_entry_of_a_site_is_refused_by_name(tmp_path, kind: str, where: str):
    if where == "pattern":
        entry = ENTRY.replace('equals = "Dream Factory"', f"{kind} = '{ENDLESS[0]}'")
    else:
        guard = f"guard.attributes = [{{ attribute = \"Modality\", {kind} = '{ENDLESS[0]}' }}]"
        entry = ENTRY.replace("examples.match", f"{guard}\nexamples.match")
    catalogue = load_site(tmp_path, slow=entry)
    (problem,) = catalogue.problems
    assert str(problem).startswith("slow.toml, entry site.generator: ")
    assert "too many ways" in problem.reason
    assert "write fewer" in problem.suggestion
    assert catalogue.revision == shipped().revision


def test_an_expression_in_many_brackets_is_refused_or_read():
    refuse_endless("(" * 90 + "a" + ")" * 90, MAX_INPUT)
