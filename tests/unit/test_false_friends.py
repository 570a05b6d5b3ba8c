from __future__ import annotations

import re
from pathlib import Path

import pytest
from evidence_samples import ENTRY, ids, load_site, shipped

from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.evidence.matcher import match

FRIEND = """
[[false_friend]]
id = "site.dream"
title = "A bed maker"
source = "the site's equipment list"
never = ["ai-generated"]
examples = [{ Manufacturer = "Dream Factory" }]
"""


def test_no_shipped_marker_speaks_of_a_false_friend():
    assert len(shipped().false_friends) >= 15
    for friend in shipped().false_friends:
        for table in friend.examples:
            found = {evidence.says for evidence in match(shipped(), example_header(table))}
            assert not found & set(friend.never), (friend.id, table)


@pytest.mark.parametrize(
    "naive",
    [
        'attributes = ["Manufacturer"]\nregex = "ai"',
        'attributes = ["SeriesDescription"]\ntoken = "AI"',
        'attributes = ["@description", "@equipment"]\nregex = "gan"',
        'attributes = ["SeriesDescription"]\nregex = "synth"',
        'attributes = ["ImageType"]\ntoken = "SYNTHETIC"',
        'attributes = ["ImageType"]\nregex = "GENERATED"',
        'attributes = ["@description"]\nregex = "simul"',
        'attributes = ["@description"]\nregex = "phantom"',
        'attributes = ["@description"]\nregex = "virtual"',
        'attributes = ["SeriesDescription"]\nregex = "deep"',
        'attributes = ["SeriesDescription"]\nregex = "DL"',
        'attributes = ["SeriesDescription"]\nregex = "diffusion"',
        'attributes = ["ManufacturerModelName"]\ntoken = "Gemini"',
        'attributes = ["ManufacturerModelName"]\ntoken = "XCAT"',
    ],
)
def test_a_naive_marker_of_a_site_is_refused_by_the_false_friend_it_meets(tmp_path: Path, naive: str):
    entry = re.sub(r"attributes = .*\nequals = .*", lambda _: naive, ENTRY).replace(
        '{ Manufacturer = "Dream Factory" }',
        '{ Manufacturer = "ai gan", ManufacturerModelName = "XCAT Gemini",'
        ' ImageType = ["SYNTHETIC", "GENERATED"],'
        ' SeriesDescription = "AI synth simul phantom virtual deep DL diffusion" }',
    )
    catalogue = load_site(tmp_path, naive=entry.replace('{ Manufacturer = "Dream" }', '{ KVP = "1" }'))
    (problem,) = catalogue.problems
    assert re.search(
        r"naive.toml, entry site.generator: matches the false friend friend\.[a-z-]+", str(problem)
    )
    assert ids(catalogue) == ids(shipped())


def test_an_override_that_meets_a_false_friend_leaves_the_shipped_entry_in_force(tmp_path: Path):
    catalogue = load_site(tmp_path, a=ENTRY.replace("site.generator", "simulator.victre"), b=FRIEND)
    (problem,) = catalogue.problems
    assert "a.toml, entry simulator.victre: matches the false friend site.dream" in str(problem)
    assert catalogue.revision == shipped().revision


def test_a_false_friend_of_a_site_does_not_silence_a_shipped_marker(tmp_path: Path):
    friend = FRIEND.replace("Dream Factory", "MAISI")
    catalogue = load_site(tmp_path, a=friend)
    (problem,) = catalogue.problems
    assert "entry site.dream: the shipped marker generator.medical matches it; override" in str(problem)
    assert catalogue.revision == shipped().revision


def test_a_site_narrows_a_shipped_marker_and_adds_the_false_friend_it_met(tmp_path: Path):
    friend = FRIEND.replace("Dream Factory", "VICTRE").replace("ai-generated", "simulated")
    narrower = ENTRY.replace("site.generator", "simulator.victre").replace("Dream Factory", "VICTRE FDA")
    catalogue = load_site(tmp_path, a=friend, b=narrower)
    assert catalogue.problems == ()
    assert match(catalogue, example_header({"Manufacturer": "VICTRE"})) == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('never = ["ai-generated"]', 'never = ["nonsense"]', "never must be a list.*ai-derived"),
        ('never = ["ai-generated"]', "never = [[1]]", "never must be a list"),
        ('[{ Manufacturer = "Dream Factory" }]', "[]", "examples is missing"),
        ("Manufacturer =", "Manufakturer =", "did you mean Manufacturer"),
        ("title", "titel", "did you mean title"),
    ],
)
def test_a_bad_false_friend_is_refused_by_name(tmp_path: Path, old: str, new: str, reason: str):
    (problem,) = load_site(tmp_path, bad=FRIEND.replace(old, new)).problems
    assert str(problem).startswith("bad.toml, entry site.dream: ")
    assert re.search(reason, str(problem), re.DOTALL)
