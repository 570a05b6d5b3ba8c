from __future__ import annotations

import csv
import json
import os
import re
import sys
from pathlib import Path

import pytest
from evidence_samples import CT, DATA, REAL_CT, Table, labels

from orthanc_provenance.cli import main
from orthanc_provenance.commands import classify
from orthanc_provenance.commands.files import FIRST_READ, read_file_header
from orthanc_provenance.dicom.encode import encode
from orthanc_provenance.dicom.scan import Encoding
from orthanc_provenance.evidence.examples import example_elements, example_header

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


@pytest.mark.parametrize(
    "content",
    [
        b"root:x:0:0:root:/root:/bin/sh\n",
        b"ABCDEFGHIJKLMNOP",
        b"\x7fELF\x02\x01\x01\0" + bytes(64),
        b"%PDF-1.7 and so on",
        b"<html></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
    ],
    ids=["passwd", "capitals", "elf", "pdf", "html", "png"],
)
def test_what_is_no_dicom_file_is_told_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
):
    (tmp_path / "file").write_bytes(content)
    _, (result,) = run(capsys, tmp_path / "file")
    assert "no DICOM object" in str(result["error"])


@pytest.mark.parametrize("explicit", [True, False])
def test_a_bare_data_set_is_still_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], explicit: bool):
    encoding = Encoding(explicit=explicit)
    elements = example_elements(SYNTHETIC)
    (tmp_path / "bare").write_bytes(b"".join(encode(tag, element, encoding) for tag, element in elements))
    _, (result,) = run(capsys, tmp_path / "bare")
    assert result["origin"] == "simulated"


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


def test_explain_shows_all_evidence_in_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "1.dcm", SYNTHETIC)
    write(tmp_path / "2.dcm", {"Modality": "CT", "SOPClassUID": CT})
    (tmp_path / "3.txt").write_text("no")
    assert main(["classify", str(tmp_path), "--explain"]) == 1
    made, nothing, error = capsys.readouterr().out.strip().split("\n\n")
    first, head, *rows = made.splitlines()
    assert first.split() == ["simulated", str(tmp_path / "1.dcm"), "[labelled]"]
    assert head.split() == ["AXIS", "SAYS", "STRENGTH", "MARKER", "ATTRIBUTE", "VALUE"]
    cells = [re.split(r"  +", row.strip()) for row in rows]
    assert [
        "origin",
        "simulated",
        "equipment",
        "simulator.dicomator",
        "(0008,0070) Manufacturer",
        "DICOMator",
    ] in (cells)
    assert "no evidence" in nothing
    assert error.startswith("(error)")


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_explain_is_refused_for_formats_that_are_not_for_people(
    capsys: pytest.CaptureFixture[str], form: str
):
    assert main(["classify", "x", "--explain", "--format", form]) == 2
    assert "--explain" in capsys.readouterr().err


def test_csv_has_one_row_per_file_and_no_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in" / "=1+1.dcm", {**SYNTHETIC, "SOPInstanceUID": "=2+2"})
    write(tmp_path / "in" / "a.dcm", {**REAL_CT, "PatientIdentityRemoved": "YES"})
    (tmp_path / "in" / 'b, "c"\n.txt').write_text("no")
    monkeypatch.chdir(tmp_path / "in")
    assert main(["classify", ".", "--format", "csv", "--output", "../out.csv"]) == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        made, real, error = csv.DictReader(file)
    assert made["path"] == "./=1+1.dcm"
    assert made["sop_instance_uid"] == "'=2+2"
    assert (made["state"], made["labelled"], made["error"]) == ("simulated", "true", "")
    assert (real["state"], real["identity_removed"], real["defaced"]) == (
        "privacy-protected",
        "true",
        "false",
    )
    assert {found["marker"] for found in json.loads(made["evidence"])} >= {"simulator.dicomator"}
    assert error["path"] == 'b, "c"\\n.txt'
    assert error["state"] == ""
    assert error["error"]


def test_parquet_has_the_shape_of_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    parquet = pytest.importorskip("pyarrow.parquet")
    write(
        tmp_path / "in" / "1.dcm", {**REAL_CT, "PatientIdentityRemoved": "YES", "DerivationDescription": "x"}
    )
    write(tmp_path / "in" / "2.dcm", SYNTHETIC)
    _, expected = run(capsys, tmp_path / "in")
    out = tmp_path / "out.parquet"
    assert main(["classify", str(tmp_path / "in"), "--format", "parquet", "--output", str(out)]) == 0
    rows = parquet.read_table(out).to_pylist()
    assert [{key: value for key, value in row.items() if key != "error"} for row in rows] == expected
    assert [row["error"] for row in rows] == [None, None]


def test_parquet_that_was_cut_short_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in range(3):
        write(tmp_path / "in" / f"{number}.dcm", REAL_CT)
    original = classify._assess_file

    def interrupted(path: str, *rest: object) -> object:
        if path.endswith("2.dcm"):
            raise KeyboardInterrupt
        return original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classify, "_assess_file", interrupted)
    out = tmp_path / "out.parquet"
    assert main(["classify", str(tmp_path / "in"), "--format", "parquet", "--output", str(out)]) == 130
    assert not out.exists()
    assert parquet.read_table(f"{out}.part").num_rows == 2


def test_parquet_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main(["classify", str(tmp_path), "--format", "parquet"]) == 2
    assert "--output" in capsys.readouterr().err
    monkeypatch.setattr("orthanc_provenance.commands.parquet.pyarrow", None)
    assert main(["classify", str(tmp_path), "--format", "parquet", "--output", str(tmp_path / "x")]) == 2
    assert "orthanc-provenance[parquet]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "in" / "1.dcm", REAL_CT)
    assert main(["classify", str(tmp_path / "in"), "--output", str(tmp_path / "none" / "out")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["classify", str(tmp_path / "in"), "--output", "/dev/full"]) == 2
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["jsonl", "csv", "table"])
def test_a_run_survives_what_is_no_file_and_names_that_are_no_utf8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
):
    os.mkfifo(tmp_path / "a-pipe")
    (tmp_path / "b-loop").symlink_to("b-loop")
    with open(os.fsencode(tmp_path) + b"/c-\xe9\x1b.dcm", "wb") as file:
        file.write(example_header(REAL_CT).buffer)
    assert main(["classify", str(tmp_path), "--format", form]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()[form == "csv" :]
    assert "a named pipe" in lines[0]
    assert "symbolic links" in lines[1]
    assert "original" in lines[2]
    assert captured.out.replace("\n", "").isprintable()
    if form == "jsonl":
        assert os.fsencode(json.loads(lines[2])["path"]) == os.fsencode(tmp_path) + b"/c-\xe9\x1b.dcm"


def test_a_file_on_which_the_engine_breaks_does_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("1.dcm", "2.dcm"):
        write(tmp_path / name, REAL_CT)
    original = classify.assess_received

    def breaks_once(*arguments: object) -> object:
        monkeypatch.setattr(classify, "assess_received", original)
        raise RecursionError("too deep")

    monkeypatch.setattr(classify, "assess_received", breaks_once)
    status, (broken, fine) = run(capsys, tmp_path)
    assert status == 1
    assert "RecursionError" in str(broken["error"])
    assert fine["state"] == "original"


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "513"])
def test_a_wrong_number_of_jobs_is_refused(capsys: pytest.CaptureFixture[str], jobs: str):
    with pytest.raises(SystemExit):
        main(["classify", "x", "--jobs", jobs])
    assert "is no number from 1 to 512" in capsys.readouterr().err


def test_the_progress_is_shown_on_a_terminal_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "1.dcm", REAL_CT)
    main(["classify", str(tmp_path)])
    quiet = capsys.readouterr()
    assert quiet.err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["classify", str(tmp_path)])
    shown = capsys.readouterr()
    assert "files" in shown.err
    assert shown.out == quiet.out
    main(["classify", str(tmp_path / "1.dcm")])
    assert capsys.readouterr().err == ""
