from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence_samples import DATA, ENTRY, REAL_CT, Table, ids, labels, shipped

from orthanc_provenance.cli import main
from orthanc_provenance.evidence.examples import example_header

DEEP_RESOLVE: Table = {
    **REAL_CT,
    "Manufacturer": "SIEMENS",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "DRB"],
    "SyntheticData": "YES",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a marker of the site, one that overrides a shipped one, and nothing wrong."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "ours.toml").write_text(ENTRY)
    (folder / "override.toml").write_text(ENTRY.replace("site.generator", "simulator.victre"))
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["markers", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def objects(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> list[dict[str, Any]]:
    found, out, _ = run(capsys, *arguments, "--format", "jsonl")
    assert found == status
    return [json.loads(line) for line in out.splitlines()]


def test_list_shows_every_marker_in_force_by_its_id(capsys: pytest.CaptureFixture[str]):
    status, out, _ = run(capsys, "list")
    assert status == 0
    head, *rows = out.splitlines()
    assert head.split() == ["ID", "AXIS", "SAYS", "STRENGTH", "FILE", "TITLE"]
    assert [row.split()[0] for row in rows] == sorted(ids(shipped()))


def test_list_tells_the_markers_of_a_site_from_shipped_ones(capsys: pytest.CaptureFixture[str], site: Path):
    by_id = {marker["id"]: marker for marker in objects(capsys, "list", "--markers", site)}
    assert by_id["site.generator"]["file"] == "ours.toml"
    told = {name: (marker["site"], marker["overrides"]) for name, marker in by_id.items()}
    assert told.pop("site.generator") == (True, False)
    assert told.pop("simulator.victre") == (True, True)
    assert set(told.values()) == {(False, False)}
    _, out, _ = run(capsys, "list", "--markers", site)
    assert "ours.toml (site) " in out
    assert "override.toml (site, overrides)" in out


def test_show_tells_all_of_a_marker(capsys: pytest.CaptureFixture[str], site: Path):
    status, out, _ = run(capsys, "show", "site.generator", "--markers", site)
    assert status == 0
    for part in ("A generator of this site", "its manual", "ours.toml (site)", "for equals", "Dream Factory"):
        assert part in out
    (found,) = objects(capsys, "show", "reconstruction.deep-resolve")
    assert "Modality equals MR" in found["guards"]
    assert found["examples"]["match"]


def test_show_suggests_what_may_have_been_meant(capsys: pytest.CaptureFixture[str]):
    status, out, err = run(capsys, "show", "generator.gam")
    assert (status, out) == (1, "")
    assert "did you mean generator.gan?" in err


def test_test_explains_what_matched_and_what_a_guard_held_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "x.dcm"
    path.write_bytes(example_header(DEEP_RESOLVE).buffer)
    (found,) = objects(capsys, "test", path)
    assert found["state"] == "ai-generated"
    matched = {evidence["marker"]: evidence for evidence in found["evidence"]}
    assert matched["standard.synthetic-data"]["attribute"] == "(0008,001C)"
    assert {
        "marker": "reconstruction.deep-resolve",
        "attribute": "(0008,0008)",
        "value": "DRB",
        "guard": "Modality equals MR",
        "guard_found": "CT",
    } in found["held_off"]
    status, out, _ = run(capsys, "test", path)
    assert status == 0
    assert out.startswith("ai-generated")
    for part in ("(0008,001C)", "standard.synthetic-data: ", "source: ", "held off", "Modality equals MR"):
        assert part in out


def test_test_knows_the_markers_of_the_site(tmp_path: Path, capsys: pytest.CaptureFixture[str], site: Path):
    path = tmp_path / "x.dcm"
    path.write_bytes(example_header({**REAL_CT, "Manufacturer": "Dream Factory"}).buffer)
    (found,) = objects(capsys, "test", path, "--markers", site)
    assert "site.generator" in {evidence["marker"] for evidence in found["evidence"]}


@pytest.mark.parametrize("content", [None, b"no DICOM"])
def test_test_says_of_a_file_that_cannot_be_assessed_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    status, out, err = run(capsys, "test", tmp_path / "x")
    assert (status, out) == (1, "")
    assert str(tmp_path / "x") in err


def test_nothing_that_steers_a_terminal_comes_out_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "\x1b[31mred.dcm"
    path.write_bytes(example_header({**DEEP_RESOLVE, "Manufacturer": "SIEMENS\x1b]0;x\x07"}).buffer)
    _, out, _ = run(capsys, "test", path)
    assert "\\x1b[31mred.dcm" in out
    assert out.replace("\n", "").isprintable()


@pytest.mark.skipif(not labels(), reason="the real test files are not present")
def test_test_explains_real_files(capsys: pytest.CaptureFixture[str]):
    for path in sorted((DATA / "real").glob("*.dcm"))[::5]:
        (found,) = objects(capsys, "test", path)
        assert {held["marker"] for held in found["held_off"]} <= ids(shipped())
        assert all(held["guard"] for held in found["held_off"])


def test_lint_of_the_shipped_files_finds_nothing(capsys: pytest.CaptureFixture[str]):
    status, out, _ = run(capsys, "lint")
    assert status == 0
    assert f"{len(shipped().markers)} markers in force, 0 refused" in out


def test_lint_of_good_files_says_how_many_are_in_force(capsys: pytest.CaptureFixture[str], site: Path):
    status, out, _ = run(capsys, "lint", site)
    assert (status, out) == (0, f"{site}: 2 markers in force, 0 refused\n")


def test_lint_names_file_entry_reason_and_suggestion(capsys: pytest.CaptureFixture[str], site: Path):
    (site / "wrong.toml").write_text(
        ENTRY.replace("site.generator", "site.key").replace("source =", "sauce =")
        + ENTRY.replace("site.generator", "site.example").replace('equals = "Dream', 'equals = "Dram')
        + ENTRY.replace("site.generator", "site.friend").replace("Dream Factory", "Xoran Technologies")
    )
    (site / "syntax.toml").write_text("[[marker")
    problems = objects(capsys, "lint", site, status=1)
    assert {problem["folder"] for problem in problems} == {str(site)}
    by_entry = {problem["entry"]: problem for problem in problems}
    assert by_entry["site.key"]["file"] == "wrong.toml"
    assert by_entry["site.key"]["reason"] == "unknown key 'sauce'"
    assert "did you mean source?" in by_entry["site.key"]["suggestion"]
    assert by_entry["site.example"]["reason"] == "examples.match number 1 does not match"
    assert "correct the example" in by_entry["site.example"]["suggestion"]
    assert by_entry[""]["file"] == "syntax.toml"
    assert all(problem["suggestion"] for problem in problems)
    status, out, _ = run(capsys, "lint", site)
    assert status == 1
    assert "wrong.toml, entry site.key\n  refused because: unknown key 'sauce'\n  what to do: " in out


def test_lint_holds_entries_against_the_false_friends(capsys: pytest.CaptureFixture[str], site: Path):
    friend, table = next(
        (friend, table)
        for friend in shipped().false_friends
        if "ai-generated" in friend.never
        for table in friend.examples
        if isinstance(table.get("Manufacturer"), str)
    )
    name = table["Manufacturer"]
    (site / "friend.toml").write_text(
        ENTRY.replace("site.generator", "site.friend").replace('"Dream Factory"', json.dumps(name))
    )
    (problem,) = objects(capsys, "lint", site, status=1)
    assert problem["entry"] == "site.friend"
    assert f"false friend {friend.id}" in problem["reason"]
    assert problem["suggestion"] == "narrow it"


def test_lint_checks_several_folders_each_by_itself(capsys: pytest.CaptureFixture[str], site: Path):
    other = site.parent / "other"
    other.mkdir()
    (other / "ours.toml").write_text(ENTRY)
    assert run(capsys, "lint", site, other)[0] == 0
    (other / "wrong.toml").write_text("x = 1")
    status, out, _ = run(capsys, "lint", other, site)
    assert status == 1
    assert f"{site}: 2 markers in force, 0 refused" in out


def test_a_folder_that_is_not_there_is_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    status, _, err = run(capsys, "lint", tmp_path / "nowhere")
    assert status == 2
    assert "cannot be listed" in err


def test_refused_files_of_the_site_are_told_and_the_rest_is_shown(
    capsys: pytest.CaptureFixture[str], site: Path
):
    (site / "syntax.toml").write_text("[[marker")
    status, out, err = run(capsys, "list", "--markers", site)
    assert status == 0
    assert "site.generator" in out
    assert "syntax.toml" in err
