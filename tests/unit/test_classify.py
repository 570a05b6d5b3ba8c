from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_samples import DATA, REAL_CT, Table, labels

from orthanc_provenance.cli import main
from orthanc_provenance.commands.files import FIRST_READ, read_file_header
from orthanc_provenance.evidence.examples import example_header

SYNTHETIC: Table = {"SyntheticData": "YES", "Manufacturer": "DICOMator", "SOPInstanceUID": "1.2.3"}


def write(path: Path, table: Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(example_header(table).buffer)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, object]]]:
    status = main(["classify", *map(str, arguments)])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_json_object_per_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "made.dcm", SYNTHETIC)
    status, (result,) = run(capsys, path)
    assert status == 0
    evidence = result.pop("evidence")
    assert result == {
        "path": str(path),
        "sop_instance_uid": "1.2.3",
        "state": "simulated",
        "origin": "simulated",
        "privacy": {"identity_removed": False, "defaced": False},
        "labelled": True,
        "modifiers": [],
    }
    assert {
        "marker": "simulator.dicomator",
        "attribute": "(0008,0070)",
        "value": "DICOMator",
        "axis": "origin",
        "strength": "equipment",
    } in evidence


def test_folders_are_walked_in_order_and_bad_files_do_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "b" / "2.dcm", REAL_CT)
    write(tmp_path / "b" / "1.dcm", SYNTHETIC)
    write(tmp_path / "c.dcm", REAL_CT)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no DICOM here")
    (tmp_path / "a" / "empty").touch()
    status, results = run(capsys, tmp_path, tmp_path / "missing.dcm")
    assert status == 1
    names = [str(Path(str(result["path"])).relative_to(tmp_path)) for result in results]
    assert names == ["c.dcm", "a/empty", "a/notes.txt", "b/1.dcm", "b/2.dcm", "missing.dcm"]
    assert [set(result) == {"path", "error"} for result in results] == [False, True, True, False, False, True]
    assert all(result["error"] for result in results if "error" in result)


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "1.dcm", {**REAL_CT, "PatientIdentityRemoved": "YES"})
    (tmp_path / "2.txt").write_text("no")
    assert main(["classify", str(tmp_path), "--format", "table"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("privacy-protected")
    assert "[identity-removed]" in first
    assert "acquisition.ct" in first
    assert second.startswith("(error)")


@pytest.mark.parametrize("arguments", [[], ["classify"], ["classify", "x", "--format", "xml"], ["unknown"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_markers_folder_that_is_missing_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["classify", str(tmp_path), "--markers", str(tmp_path / "none")]) == 2
    assert "create it" in capsys.readouterr().err


def test_site_markers_count_and_bad_ones_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "site.toml").write_text(
        '[[marker]]\nid = "site.x"\ntitle = "x"\nattributes = "StationName"\nequals = "DREAMER"\n'
        'axis = "origin"\nsays = "ai-generated"\nstrength = "equipment"\nsource = "x"\n'
        'examples.match = [{ StationName = "DREAMER" }]\n'
    )
    (tmp_path / "wrong.toml").write_text("[[marker")
    path = write(tmp_path / "data" / "x.dcm", {**REAL_CT, "StationName": "DREAMER"})
    assert main(["classify", str(path), "--markers", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["state"] == "ai-generated"
    assert "wrong.toml" in captured.err


@pytest.mark.parametrize("surplus", [-40, -14, -12, -8, -2, 0, 8, 40])
def test_a_header_that_reaches_beyond_the_first_read_is_read_whole(tmp_path: Path, surplus: int):
    """What stands behind a long element is found wherever the first read cuts."""
    content = example_header({**REAL_CT, "ContentLabel": "LUNIT"}).buffer
    at = content.index(b"\x70\x00\x80\x00CS")
    length = FIRST_READ - at - 12 + surplus
    filler = b"\x33\x00\x01\x00UN\0\0" + length.to_bytes(4, "little") + bytes(length)
    path = tmp_path / "long.dcm"
    path.write_bytes(content[:at] + filler + content[at:])
    assert read_file_header(path).text(0x00700080) == "LUNIT"


def test_pixels_of_a_large_file_are_not_read(tmp_path: Path):
    path = write(tmp_path / "large.dcm", REAL_CT)
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + (1 << 22).to_bytes(4, "little")
    path.write_bytes(path.read_bytes() + pixels + bytes(1 << 22))
    header = read_file_header(path)
    assert len(header.buffer) == FIRST_READ
    assert header.text(0x00080060) == "CT"


@pytest.mark.skipif(not labels(), reason="the real test files are not present")
def test_all_real_files_are_classified(capsys: pytest.CaptureFixture[str]):
    status, results = run(capsys, DATA / "real")
    assert status == 0
    assert len(results) == len(labels())
    assert all("state" in result for result in results)
