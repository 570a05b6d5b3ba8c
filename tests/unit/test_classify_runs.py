"""Runs of `classify` over many files: in parallel, remembered, killed, interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from evidence_samples import DATA, REAL_CT, REAL_MR, labels

import orthanc_provenance
from orthanc_provenance.cli import main
from orthanc_provenance.commands import classify as command
from orthanc_provenance.commands import resume
from orthanc_provenance.commands.resume import Memory
from orthanc_provenance.errors import CommandError
from orthanc_provenance.evidence.examples import example_header

# Parallel from the first files on, and everything remembered at once: a test has few files and little time.
SCRIPT = """
import sys
from orthanc_provenance.cli import main
from orthanc_provenance.commands import classify, resume
classify._WORTHWHILE, resume._SECONDS = 2, 0
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Forty objects in two folders, and a file that is none."""
    root = tmp_path / "tree"
    for number in range(40):
        path = root / f"{number % 2}" / f"{number:02}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        base = REAL_CT if number % 3 else REAL_MR
        path.write_bytes(example_header({**base, "SOPInstanceUID": f"1.2.{number}"}).buffer)
    (root / "1" / "notes.txt").write_text("no DICOM")
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that are read in this process."""
    paths: list[str] = []
    original = command.read_file_header

    def remembered(path: str) -> object:
        paths.append(path)
        return original(path)

    monkeypatch.setattr(command, "read_file_header", remembered)
    return paths


def run(*arguments: object) -> int:
    return main(["classify", *map(str, arguments), "--jobs", "1"])


def uninterrupted(tmp_path: Path, *arguments: object) -> bytes:
    file = tmp_path / "uninterrupted"
    run(*arguments, "--output", file)
    return file.read_bytes()


@contextmanager
def started(*arguments: object, errors: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """A run with two workers, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "classify", *map(str, arguments), "--jobs", "2"],
        # What a buffer has taken behind the first line would be lost to `communicate`.
        bufsize=0,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": str(Path(orthanc_provenance.__file__).parents[1])},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


def members(group: int) -> list[int]:
    """The processes of a process group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _parent, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(owner) == group and state not in "ZX":
            found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 seconds")


def test_a_parallel_run_gives_what_a_serial_one_gives(tmp_path: Path, tree: Path):
    with started(tree, tree, tmp_path / "missing") as process:
        written, _ = process.communicate()
    assert process.returncode == 1
    assert written == uninterrupted(tmp_path, tree, tree, tmp_path / "missing")
    assert written.count(b"\n") == 83


@pytest.mark.skipif(not labels(), reason="the real test files are not present")
def test_a_parallel_run_over_real_files_gives_what_a_serial_one_gives(tmp_path: Path):
    with started(DATA / "real") as process:
        written, _ = process.communicate()
    assert process.returncode == 0
    assert written == uninterrupted(tmp_path, DATA / "real")


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, tree: Path, read: list[str]):
    memory, output = tmp_path / "memory", tmp_path / "out"
    # The pipe takes about a hundred of the results, and nobody reads more than ten of them.
    with started(*[tree] * 10, "--resume", memory) as process:
        assert process.stdout is not None
        seen = {json.loads(process.stdout.readline())["path"] for _ in range(10)}
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not members(process.pid))
    assert run(tree, "--resume", memory, "--output", output) == 1
    assert not seen & set(read)
    assert output.read_bytes() == uninterrupted(tmp_path, tree)


def test_ctrl_c_ends_all_processes_cleanly_and_the_next_run_goes_on(
    tmp_path: Path, tree: Path, read: list[str]
):
    memory, output = tmp_path / "memory", tmp_path / "out"
    with started(*[tree] * 10, "--resume", memory) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        rest, told = process.communicate()
    assert process.returncode == 130
    assert b"interrupted" in told
    assert b"Traceback" not in told
    lines = [json.loads(line) for line in (first + rest).splitlines()]
    assert 0 < len(lines) < 410
    wait_until(lambda: not members(process.pid))
    assert run(tree, "--resume", memory, "--output", output) == 1
    assert not {line["path"] for line in lines if "error" not in line} & set(read)
    assert output.read_bytes() == uninterrupted(tmp_path, tree)


def test_workers_end_with_the_reader_of_their_results(tree: Path):
    with started(*[tree] * 10) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 1
        wait_until(lambda: not members(process.pid))


def test_progress_is_shown_even_on_a_terminal_without_a_size(tree: Path):
    ours, theirs = os.openpty()
    with started(tree, errors=theirs) as process:
        os.close(theirs)
        process.communicate()
        assert b"41/41" in os.read(ours, 1 << 16)
    os.close(ours)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "table"])
def test_every_format_is_the_same_whether_remembered_or_not(tmp_path: Path, tree: Path, form: str):
    pytest.importorskip("pyarrow")
    arguments = (tree, "--resume", tmp_path / "memory", "--format", form, "--output", tmp_path / "out")
    assert run(*arguments) == 1
    first = (tmp_path / "out").read_bytes()
    assert run(*arguments) == 1
    assert (tmp_path / "out").read_bytes() == first == uninterrupted(tmp_path, tree, "--format", form)


def test_what_is_remembered_is_not_read_again_and_what_has_changed_is(
    tmp_path: Path, tree: Path, read: list[str]
):
    arguments = (tree, "--resume", tmp_path / "memory", "--output", tmp_path / "out")
    run(*arguments)
    assert len(read) == 41
    read.clear()
    run(*arguments)
    assert read == []
    grown, touched = tree / "0" / "04.dcm", tree / "1" / "07.dcm"
    grown.write_bytes(example_header({**REAL_CT, "SyntheticData": "YES", "SOPInstanceUID": "9.9"}).buffer)
    os.utime(touched, (1, 1))
    new = tree / "2" / "new.dcm"
    new.parent.mkdir()
    new.write_bytes(grown.read_bytes())
    run(*arguments)
    assert read == [str(grown), str(touched), str(new)]
    read.clear()
    run(*arguments)
    assert read == []
    assert (tmp_path / "out").read_bytes() == uninterrupted(tmp_path, tree)


def test_what_could_not_be_opened_is_tried_again(tmp_path: Path, tree: Path):
    link = tree / "link.dcm"
    link.symlink_to(tmp_path / "later.dcm")
    arguments = (tree, "--resume", tmp_path / "memory", "--output", tmp_path / "out")
    run(*arguments)
    (tmp_path / "later.dcm").write_bytes(example_header(REAL_CT).buffer)
    run(*arguments)
    first = json.loads((tmp_path / "out").read_text().splitlines()[0])
    assert (first["path"], first["state"]) == (str(link), "original")


def test_other_markers_make_everything_be_done_again(tmp_path: Path, tree: Path, read: list[str]):
    (tmp_path / "markers").mkdir()
    (tmp_path / "markers" / "a.toml").write_text(
        '[[marker]]\nid = "site.x"\ntitle = "x"\nattributes = "Manufacturer"\nequals = "SIEMENS"\n'
        'axis = "modifier"\nsays = "phantom"\nstrength = "equipment"\nsource = "x"\n'
        'examples.match = [{ Manufacturer = "SIEMENS" }]\n'
    )
    arguments = (tree, "--resume", tmp_path / "memory", "--output", tmp_path / "out")
    run(*arguments)
    before = len(read)
    run(*arguments, "--markers", tmp_path / "markers")
    assert len(read) == 2 * before
    assert b"phantom" in (tmp_path / "out").read_bytes()


def test_the_same_files_are_known_by_another_way_to_name_them(
    tmp_path: Path, tree: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
):
    run(tree, "--resume", tmp_path / "memory", "--output", tmp_path / "out")
    read.clear()
    monkeypatch.chdir(tree)
    run("0", "--resume", tmp_path / "memory", "--output", tmp_path / "out")
    assert read == []
    assert json.loads((tmp_path / "out").read_text().splitlines()[0])["path"] == "0/00.dcm"


def test_what_a_run_writes_is_not_among_what_it_reads(tree: Path):
    for _ in range(2):
        run(tree, "--resume", tree / "memory", "--output", tree / "out")
        assert len((tree / "out").read_text().splitlines()) == 41


def test_two_runs_do_not_share_a_memory(
    tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resume, "_WAIT_SECONDS", 0.1)
    with Memory(tmp_path / "memory", "a key"):
        assert run(tree, "--resume", tmp_path / "memory") == 2
    assert "in use by another run" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"not a database, and long enough to be told from one" * 20, b"x"])
def test_a_file_that_is_no_memory_is_left_as_it_is(tmp_path: Path, content: bytes):
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(CommandError, match="cannot be used"):
        Memory(tmp_path / "mine", "a key")
    assert (tmp_path / "mine").read_bytes() == content


def test_an_interrupted_output_never_has_the_name_of_a_complete_one(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(command, "assess_received", interrupt_after(7, command.assess_received))
    (tmp_path / "out").write_text("of yesterday")
    assert run(tree, "--output", tmp_path / "out") == 130
    assert (tmp_path / "out").read_text() == "of yesterday"
    assert len((tmp_path / "out.part").read_text().splitlines()) == 7
    assert "out.part" in capsys.readouterr().err


def interrupt_after(number: int, function: Callable[..., object]) -> Callable[..., object]:
    calls = 0

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > number:
            raise KeyboardInterrupt
        return function(*arguments)

    return counted
