from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from evidence_samples import REAL_CT

from orthanc_provenance.commands import files
from orthanc_provenance.commands.files import Found, read_file_header, walk
from orthanc_provenance.errors import HeaderError
from orthanc_provenance.evidence.examples import example_header

NOBODY = 65534


def found(*paths: Path, leave_out: frozenset[str] = frozenset()) -> list[str]:
    return [file.path for file in walk(paths, leave_out)]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root reads every folder, whatever its mode says."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_come_before_folders_and_both_by_name(tmp_path: Path):
    for name in ("b/2", "b/1", "b/a/9", "c", "a"):
        touch(tmp_path / name)
    assert found(tmp_path) == [str(tmp_path / name) for name in ("a", "c", "b/1", "b/2", "b/a/9")]


def test_the_folder_where_one_stands_is_not_repeated_in_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path / "a" / "1")
    monkeypatch.chdir(tmp_path)
    assert found(Path()) == ["a/1"]


def test_what_is_named_is_found_even_where_there_is_nothing(tmp_path: Path):
    assert found(tmp_path / "missing") == [str(tmp_path / "missing")]


def test_links_that_lead_back_end_the_walk_there(tmp_path: Path):
    touch(tmp_path / "a" / "1")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    assert found(tmp_path) == [str(tmp_path / name) for name in ("x", "y", "a/1")]


def test_folders_behind_links_are_walked_once(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere / "1")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("b", "a", "c"):
        (tree / name).symlink_to(elsewhere)
    assert found(tree) == [str(tree / "a" / "1")]


def test_folders_that_link_to_each_other_do_not_multiply(tmp_path: Path):
    names = [f"d{number}" for number in range(12)]
    for name in names:
        touch(tmp_path / name / "file")
    for name in names:
        for other in names:
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    left = found(tmp_path)
    assert {str(tmp_path / name / "file") for name in names} <= set(left)
    assert len(left) <= 2 * len(names)


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path / "b" / "1")
    touch(tmp_path / "c" / "1")
    (tmp_path / "b").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with unprivileged():
        left = list(walk([Path()]))
    (tmp_path / "b").chmod(0o755)
    assert left == [Found("b", "cannot be listed: Permission denied"), Found("c/1")]


def test_what_is_left_out_is_left_out_wherever_a_link_leads_to_it(tmp_path: Path):
    out = touch(tmp_path / "out.jsonl")
    touch(tmp_path / "a" / "out.jsonl")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "out.jsonl").symlink_to(out)
    left = found(tmp_path, leave_out=frozenset({str(out)}))
    assert left == [str(tmp_path / "a" / "out.jsonl")]


def test_names_that_are_no_utf8_are_found_and_read(tmp_path: Path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.dcm"
    with open(name, "wb") as file:
        file.write(example_header(REAL_CT).buffer)
    (path,) = found(tmp_path)
    assert os.fsencode(path) == name
    assert read_file_header(path).text(0x00080060) == "CT"


def test_a_named_pipe_is_no_file_and_nobody_waits_for_its_writer(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe"):
        read_file_header(tmp_path / "pipe")


def test_a_socket_a_device_and_a_folder_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(OSError, match="a socket"):
            read_file_header("socket")
    with pytest.raises(OSError, match="a device"):
        read_file_header("/dev/zero")
    with pytest.raises(OSError, match=r"directory|folder"):
        read_file_header(tmp_path)


def test_of_a_huge_file_that_is_no_dicom_little_is_read(tmp_path: Path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(HeaderError, match="no DICOM object"):
        read_file_header(tmp_path / "huge")


def test_of_a_huge_object_only_the_header_is_read(tmp_path: Path):
    path = tmp_path / "huge.dcm"
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0"
    path.write_bytes(example_header(REAL_CT).buffer + pixels)
    os.truncate(path, 1 << 36)
    assert read_file_header(path).text(0x00080060) == "CT"


def test_a_header_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "_READS", (1 << 10, 1 << 12))
    path = tmp_path / "endless.dcm"
    path.write_bytes(example_header(REAL_CT).buffer + b"\x33\x00\x01\x00UN\0\0\x00\x20\x00\x00")
    os.truncate(path, 1 << 14)
    with pytest.raises(HeaderError, match="does not end within"):
        read_file_header(path)
