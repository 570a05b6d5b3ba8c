from __future__ import annotations

import re
from pathlib import Path

import pytest
from evidence_samples import ENTRY, ids, load_site, shipped

from orthanc_provenance.errors import CatalogueError
from orthanc_provenance.evidence.catalogue import load_catalogue
from orthanc_provenance.evidence.examples import contradictions, example_header
from orthanc_provenance.evidence.language import parse_paths, parse_pattern
from orthanc_provenance.evidence.marker import Marker
from orthanc_provenance.evidence.matcher import match_plan
from orthanc_provenance.evidence.plan import Plan

MARKERS = shipped().markers


def guard(attribute: str, pattern: str) -> str:
    """A guard, written where a test replaces `examples.match`."""
    return f'guard.attributes = [{{ attribute = "{attribute}", {pattern} }}]\nexamples.match'


def test_all_shipped_entries_load():
    assert shipped().problems == ()
    assert len(MARKERS) >= 50


@pytest.mark.parametrize("marker", MARKERS, ids=lambda marker: marker.id)
def test_a_marker_does_what_its_examples_say(marker: Marker):
    plan = Plan.of((marker,))
    assert all(match_plan(plan, example_header(table)) for table in marker.match)
    assert not any(match_plan(plan, example_header(table)) for table in marker.no_match)
    assert list(contradictions(marker)) == []


@pytest.mark.parametrize("marker", MARKERS, ids=lambda marker: marker.id)
def test_a_marker_has_a_source_and_examples_of_both_kinds(marker: Marker):
    assert marker.source
    assert marker.match
    assert marker.no_match


def test_ids_fit_a_value_of_a_stamp():
    assert all(re.fullmatch(r"[a-z0-9.-]{1,64}", marker.id) for marker in MARKERS)


def test_the_revision_is_short_and_depends_on_content_only(tmp_path: Path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    first, renamed = load_site(one, a=ENTRY), load_site(two, b="# a comment\n" + ENTRY)
    changed = load_site(three, a=ENTRY.replace("Dream Factory", "Dream Mill"))
    assert first.revision == renamed.revision
    assert len({first.revision, changed.revision, shipped().revision}) == 3
    assert re.fullmatch(r"[0-9a-f]{12}", first.revision)


def test_a_site_adds_an_entry(tmp_path: Path):
    catalogue = load_site(tmp_path, site=ENTRY)
    assert ids(catalogue) == ids(shipped()) | {"site.generator"}


def test_a_site_overrides_a_shipped_entry_by_its_id(tmp_path: Path):
    catalogue = load_site(tmp_path, site=ENTRY.replace("site.generator", "simulator.victre"))
    (found,) = (marker for marker in catalogue.markers if marker.id == "simulator.victre")
    assert found.says == "ai-generated"
    assert ids(catalogue) == ids(shipped())


def test_a_missing_markers_directory_is_an_error_that_says_what_to_do(tmp_path: Path):
    with pytest.raises(CatalogueError, match=r"nowhere.*create it"):
        load_catalogue(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('axis = "origin"', 'axis = "mood"', "mood.*origin, privacy, modifier"),
        ('says = "ai-generated"', 'says = "acquired"', "acquired.*ai-derived"),
        ('strength = "equipment"', 'strength = "sure"', "sure.*declared"),
        ('source = "its manual"', "", "source is missing"),
        ('"Manufacturer"\n', '"Manufakturer"\n', "Manufakturer.*no keyword.*did you mean Manufacturer"),
        ('"Manufacturer"\n', '"PatientName"\n', "may identify a patient"),
        ('"Manufacturer"\n', '"OtherPatientIDsSequence>PatientID"\n', "may identify a patient"),
        ('"Manufacturer"\n', '"ReferringPhysicianName"\n', "may identify a patient"),
        ('"Manufacturer"\n', '"DerivationCodeSequence>CodeMeaning"\n', "words of other concepts"),
        ('"Manufacturer"\n', '"(0043,10CA)"\n', "is private; write"),
        ('equals = "Dream Factory"', 'regex = "(a+)+"', "nests quantifiers"),
        ('equals = "Dream Factory"', 'regex = "((a+)b?)+"', "nests quantifiers"),
        ('equals = "Dream Factory"', 'regex = "(a|a)*b"', "nests quantifiers"),
        ('equals = "Dream Factory"', 'regex = "a*b*a*"', "repeats too much"),
        ('equals = "Dream Factory"', 'regex = "a{65}"', "repeats too much"),
        ('equals = "Dream Factory"', "regex = '(a)\\1'", "refers back"),
        ('equals = "Dream Factory"', 'regex = "("', "no regular expression"),
        ('equals = "Dream Factory"', f'regex = "{"x" * 501}"', "500 characters"),
        ('equals = "Dream Factory"', 'equals = "a"\ntoken = "b"', "2 patterns"),
        ('equals = "Dream Factory"', "equals = []", "text or a list"),
        ('equals = "Dream Factory"', "present = false", "only be true"),
        ('equals = "Dream Factory"', 'equals = "Dream"', "match number 1 does not match"),
        ('{ Manufacturer = "Dream" }', '{ Manufacturer = "dream factory" }', "no_match number 1 does match"),
        ('examples.match = [{ Manufacturer = "Dream Factory" }]', "", "no example that matches"),
        ('title = "A', 'colour = "red"\ntitle = "A', "colour.*known are"),
        ('source = "its', 'sauce = "its', "sauce.*did you mean source"),
        ("examples.no_match", "examples.no_macth", "match and no_match"),
        ("examples.match", 'guard.mood = "good"\nexamples.match', "unknown guard 'mood'"),
        ("examples.match", 'guard.modalities = "CT"\nexamples.match', "did you mean modality"),
        ("examples.match", 'guard.content = "images"\nexamples.match', "known is results"),
        ("examples.match", 'guard.attributes = "CT"\nexamples.match', "list of tables"),
        ("examples.match", "guard.unless = [{ all = [] }]\nexamples.match", "list of tables"),
        ("examples.match", guard("KVP", 'equal = "1"'), "unknown key 'equal'.*did you mean equals"),
        ("examples.match", guard("KVP", "absent = false"), "absent can only be true"),
        ("examples.match", guard("KVP", "absent = true, present = true"), "2 patterns in a guard"),
        ("examples.match", guard("PatientName", "present = true"), "may identify a patient"),
    ],
)
def test_a_bad_entry_is_refused_by_name_and_the_rest_loads(tmp_path: Path, old: str, new: str, reason: str):
    assert old in ENTRY
    good = ENTRY.replace("site.generator", "site.good")
    catalogue = load_site(tmp_path, bad=ENTRY.replace(old, new) + good)
    (problem,) = catalogue.problems
    assert str(problem).startswith("bad.toml, entry site.generator: ")
    assert re.search(reason, str(problem), re.DOTALL)
    assert ids(catalogue) == ids(shipped()) | {"site.good"}


@pytest.mark.parametrize("content", ["[[marker", "marker = 3", "[thing]\nx = 1", ""])
def test_a_bad_file_is_refused_and_the_others_load(tmp_path: Path, content: str):
    catalogue = load_site(tmp_path, bad=content, good=ENTRY)
    (problem,) = catalogue.problems
    assert str(problem).startswith("bad.toml: ")
    assert "site.generator" in ids(catalogue)


def test_an_id_used_twice_in_one_directory_is_refused(tmp_path: Path):
    catalogue = load_site(tmp_path, one=ENTRY, two=ENTRY.replace("Dream Factory", "Other"))
    (problem,) = catalogue.problems
    assert "two.toml, entry site.generator: the id is taken" in str(problem)


@pytest.mark.parametrize("name", ["site\\\\ours", "site ours", "x" * 65])
def test_an_id_that_fits_no_stamp_is_refused(tmp_path: Path, name: str):
    (problem,) = load_site(tmp_path, a=ENTRY.replace("site.generator", name)).problems
    assert "fits no stamp" in problem.reason
    assert "at most 64 letters" in problem.suggestion


def test_a_refusal_tells_file_entry_reason_and_suggestion_apart(tmp_path: Path):
    (problem,) = load_site(tmp_path, a=ENTRY.replace('"Manufacturer"\n', '"Manufakturer"\n')).problems
    assert (problem.file, problem.entry) == ("a.toml", "site.generator")
    assert problem.reason == "'Manufakturer' is no keyword of PS3.6"
    assert "did you mean Manufacturer?" in problem.suggestion
    assert str(problem) == f"a.toml, entry site.generator: {problem.reason}; {problem.suggestion}"


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path):
    (tmp_path / "latin.toml").write_bytes(b'# caf\xe9\n[[marker]]\nid = "x"\n')
    (problem,) = load_catalogue(tmp_path).problems
    assert "latin.toml: no TOML in UTF-8" in str(problem)


@pytest.mark.parametrize(
    ("kind", "words", "value", "fits"),
    [
        ("equals", "YES", "yes", True),
        ("equals", "YES", "YESTERDAY", False),
        ("equals", "PROJECTION IMAGE LONG", "PROJECTION IMAGE", True),
        ("equals", "PROJECTION IMAGE LONG", "PROJECTION", False),
        ("prefix", "SubtleGAD:", "SUBTLEGAD: T1", True),
        ("prefix", "SubtleGAD:", "T1 SubtleGAD:", False),
        ("token", "GAN", "chest_GAN-2", True),
        ("token", "GAN", "GANTRY", False),
        ("token", "GAN", "ORGAN", False),
        ("token", "GAN", "GAN2", False),
        ("token", "stable diffusion", "Stable-Diffusion XL", True),
        ("token", "stable diffusion", "StableDiffusion", True),
        ("token", "stable diffusion", "unstable diffusion", False),
        ("token", "BILD", "KÜNSTLICHBILD", False),
        ("token", "BILD", "ÜBILD", False),
        ("regex", "^a.c$", "ABC", True),
        ("regex", "x", "a" * 1024 + "x", False),
        ("present", True, "anything", True),
    ],
)
def test_the_pattern_language(kind: str, words: object, value: str, fits: bool):
    assert (parse_pattern(kind, words).find(value) is not None) is fits


def test_a_pattern_returns_the_part_that_fits_and_no_more():
    assert parse_pattern("token", "MAISI").find("Doe John maisi run") == "maisi"


def test_paths_are_keywords_tags_or_private_elements_by_creator():
    (path,) = parse_paths('SharedFunctionalGroupsSequence>(0021,"SIEMENS MR SDI 02",FE)>(0008,001C)')
    assert [step.tag for step in path.steps] == [0x52009229, 0x002100FE, 0x0008001C]
    assert [step.creator for step in path.steps] == ["", "SIEMENS MR SDI 02", ""]


def test_words_are_searched_with_dashes_and_underscores_as_blanks_and_quoted_as_written():
    assert parse_pattern("words", r"\bAI generated\b").find("chest_AI-generated_2") == "AI-generated"
    assert parse_pattern("words", r"\bAI generated\b").find("TAI generated") is None


GUARDED = ENTRY.replace(
    "examples.match",
    """guard.modality = ["CT", "MR"]
guard.attributes = [{ attribute = ["KVP", "EchoTime"], present = true }]
guard.unless = [
    { attribute = "StationName", token = "bed" },
    { all = [
        { attribute = "StudyDescription", absent = true },
        { attribute = "SeriesNumber", equals = "7" },
    ] },
]
examples.match""",
).replace(
    '[{ Manufacturer = "Dream Factory" }]', '[{ Manufacturer = "Dream Factory", Modality = "CT", KVP = "1" }]'
)


@pytest.mark.parametrize(
    ("more", "speaks"),
    [
        ({"Modality": "CT", "KVP": "120"}, True),
        ({"Modality": "mr ", "EchoTime": "5"}, True),
        ({"Modality": "US", "KVP": "120"}, False),
        ({"Modality": "CT"}, False),
        ({"KVP": "120"}, False),
        ({"Modality": "CT", "KVP": "120", "StationName": "hospital bed 3"}, False),
        ({"Modality": "CT", "KVP": "120", "StationName": "bedding"}, True),
        ({"Modality": "CT", "KVP": "120", "SeriesNumber": "7"}, False),
        ({"Modality": "CT", "KVP": "120", "SeriesNumber": "7", "StudyDescription": " "}, False),
        ({"Modality": "CT", "KVP": "120", "SeriesNumber": "7", "StudyDescription": "x"}, True),
        ({"Modality": "CT", "KVP": "120", "SeriesNumber": "8"}, True),
    ],
)
def test_guards_hold_a_marker_off(tmp_path: Path, more: dict[str, str], speaks: bool):
    catalogue = load_site(tmp_path, site=GUARDED)
    assert catalogue.problems == ()
    (marker,) = (marker for marker in catalogue.markers if marker.id == "site.generator")
    header = example_header({"Manufacturer": "Dream Factory", **more})
    assert bool(match_plan(Plan.of((marker,)), header)) is speaks


@pytest.mark.parametrize("key", ["@equipment", "@derivation", "@description"])
def test_abbreviations_stand_for_several_attributes(key: str):
    assert len(parse_paths(key)) > 3


def test_an_unknown_kind_of_entry_is_refused_with_a_suggestion(tmp_path: Path):
    (problem,) = load_site(tmp_path, bad="[[markers]]\nid = 'x'").problems
    assert "did you mean marker?" in str(problem)
