"""The command `orthanc-provenance verify`: what it says of each file, and with which exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_samples import decode, encode, image
from signed_samples import OURS, RICH, STRANGER, THEIRS, URI, assessed, with_stamp

import orthanc_provenance
from orthanc_provenance.cli import main
from orthanc_provenance.model import Origin
from orthanc_provenance.stamp.block import EVIDENCE, STATE
from orthanc_provenance.stamp.keys import load_keys, make_key, pem_of
from orthanc_provenance.stamp.statement import Signer

ACQUIRED = assessed(Origin.ACQUIRED)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.pem"
    path.write_text(pem_of(OURS.public_key) + pem_of(THEIRS.public_key))
    return path


@pytest.fixture
def verify(tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What the command says of one object, with its exit status."""

    def run(data: bytes, *more: str) -> tuple[dict[str, Any], int]:
        file = tmp_path / "object.dcm"
        file.write_bytes(data)
        status = main(["verify", str(file), "--format", "jsonl", "--keys", str(keys), *more])
        return json.loads(capsys.readouterr().out), status

    return run


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def flipped_pixel(data: bytes) -> bytes:
    dataset = decode(data)
    dataset.PixelData = flip(dataset.PixelData, 5)
    return encode(dataset)


def flipped_state(data: bytes) -> bytes:
    return flip(data, data.index(b"privacy-protected"))


def flipped_evidence(data: bytes) -> bytes:
    return flip(data, data.index(b"test.other"))


def flipped_signature(data: bytes) -> bytes:
    return flip(data, data.index(b'"sig":"') + 20)


def flipped_key(data: bytes) -> bytes:
    # A hexadecimal digit that stays one.
    place = data.index(b'"keyid":"') + len(b'"keyid":"')
    return data[:place] + (b"1" if data[place : place + 1] == b"0" else b"0") + data[place + 1 :]


def test_a_stamp_as_it_was_written_is_valid(verify: Callable[..., Any]) -> None:
    found, status = verify(with_stamp(encode(image()), RICH, uri=URI))

    assert (found["standing"], found["state"], found["key"]) == ("valid", "privacy-protected", OURS.key_id)
    assert (found["altered"], found["reasons"], found["stamps"]) == ([], [], 1)
    assert status == 0


@pytest.mark.parametrize(
    ("alter", "standing", "altered", "reason", "status"),
    [
        (flipped_pixel, "altered", ["pixels"], "pixels are not those", 1),
        (flipped_state, "altered", ["stamp"], f"{STATE.name} (0099,1001)", 1),
        (flipped_evidence, "altered", ["stamp"], f"{EVIDENCE.name} (0099,1006)", 1),
        (flipped_signature, "altered", ["stamp"], "the signature is not that of the key", 1),
        (flipped_key, "untrusted", [], "is not among the trusted ones", 3),
    ],
)
def test_whatever_is_tampered_with_is_named(
    verify: Callable[..., Any],
    alter: Callable[[bytes], bytes],
    standing: str,
    altered: list[str],
    reason: str,
    status: int,
) -> None:
    found, ended = verify(alter(with_stamp(encode(image()), RICH, uri=URI)))

    assert (found["standing"], found["altered"]) == (standing, altered)
    assert reason in "; ".join(found["reasons"])
    assert ended == status


def test_everything_that_was_tampered_with_is_named_at_once(verify: Callable[..., Any]) -> None:
    found, _ = verify(flipped_signature(flipped_evidence(flipped_pixel(with_stamp(encode(image()), RICH)))))

    assert set(found["altered"]) == {"stamp", "pixels"}
    assert len(found["reasons"]) == 3


@pytest.mark.parametrize("signer", [None, STRANGER])
def test_what_nobody_trusted_has_signed_is_untrusted(
    verify: Callable[..., Any], signer: Signer | None
) -> None:
    found, status = verify(with_stamp(encode(image()), RICH, signer))

    assert (found["standing"], status) == ("untrusted", 3)


def test_without_a_stamp_there_is_nothing_to_verify(verify: Callable[..., Any]) -> None:
    found, status = verify(encode(image()))

    assert (found["standing"], found["state"], status) == ("none", None, 3)


def test_a_removed_stamp_is_told_by_what_is_left_of_it(verify: Callable[..., Any]) -> None:
    from orthanc_provenance.dicom.header import read_header
    from orthanc_provenance.stamp.apply import apply

    stamped = apply(read_header(encode(image())), ACQUIRED, "test-1")
    assert stamped is not None
    dataset = decode(stamped)
    dataset.remove_private_tags()

    found, _ = verify(encode(dataset))

    assert found["standing"] == "none"
    assert "says original" in found["reasons"][0]


def test_of_several_stamps_the_current_one_counts(verify: Callable[..., Any]) -> None:
    first = with_stamp(encode(image()), assessed(Origin.UNDETERMINED), STRANGER)

    found, status = verify(with_stamp(first, ACQUIRED, THEIRS))

    assert (found["standing"], found["state"], found["stamps"], status) == ("valid", "original", 2, 0)


@pytest.mark.parametrize("change", ["removed", "altered", "inserted"])
def test_a_stamp_whose_predecessor_is_not_there_any_more_is_altered(
    verify: Callable[..., Any], change: str
) -> None:
    first = with_stamp(encode(image()), assessed(Origin.UNDETERMINED))
    if change == "inserted":
        dataset = decode(with_stamp(encode(image()), ACQUIRED))
        for number in range(0x0C):
            element = dataset.pop((0x0099, 0x1000 | number), None)
            if element is not None:
                dataset.add_new((0x0099, 0x1100 | number), element.VR, element.value)
        dataset.add_new((0x0099, 0x0011), "LO", dataset[0x0099, 0x0010].value)
        for element in decode(first).group_dataset(0x0099):
            dataset.add(element)
    else:
        dataset = decode(with_stamp(first, ACQUIRED))
        if change == "removed":
            for element in decode(first).group_dataset(0x0099):
                del dataset[element.tag]
        else:
            value = dataset[0x0099, 0x100A].value
            dataset[0x0099, 0x100A].value = flip(value, 100)

    found, status = verify(encode(dataset))

    assert (found["standing"], found["altered"], status) == ("altered", ["stamp"], 1)
    assert "the stamp before it" in found["reasons"][0]


def test_pixels_that_are_cut_off_are_altered(verify: Callable[..., Any]) -> None:
    found, status = verify(with_stamp(encode(image()), RICH)[:-4])

    assert (found["standing"], found["altered"], status) == ("altered", ["pixels"], 1)


def test_a_folder_is_walked_and_the_worst_file_gives_the_status(
    tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study" / "series"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(with_stamp(encode(image()), RICH))
    (folder / "2.dcm").write_bytes(encode(image()))
    arguments = ["verify", str(tmp_path / "study"), "--keys", str(keys)]
    assert main(arguments) == 3
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["valid", "none"]

    (folder / "0.txt").write_text("no object")
    assert main(arguments) == 1
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["(error)", "valid", "none"]


def test_keys_that_cannot_be_read_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path), "--keys", str(tmp_path / "nothing.pem")]) == 2
    assert "nothing.pem" in capsys.readouterr().err


def test_it_runs_without_orthanc_and_without_configuration(tmp_path: Path, keys: Path) -> None:
    file = tmp_path / "object.dcm"
    file.write_bytes(with_stamp(encode(image()), RICH))
    command = [sys.executable, "-c", "import sys; from orthanc_provenance.cli import main; sys.exit(main())"]

    done = subprocess.run(
        [*command, "verify", str(file), "--keys", str(keys)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(orthanc_provenance.__file__).parents[1])},
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["valid", "privacy-protected"]


def test_keys_are_made_shown_and_rotated_and_old_stamps_stay_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, published, file = tmp_path / "key.pem", tmp_path / "keys.json", tmp_path / "object.dcm"
    assert main(["keys", "make", str(path)]) == 0
    file.write_bytes(with_stamp(encode(image()), RICH, load_keys(path).signer))
    assert main(["keys", "rotate", str(path)]) == 0
    capsys.readouterr()
    assert main(["keys", "show", str(path)]) == 0
    published.write_text(capsys.readouterr().out)

    assert main(["verify", str(file), "--keys", str(published)]) == 0
    assert load_keys(path).signer.key_id not in capsys.readouterr().out


def test_a_key_is_not_made_in_place_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key.pem"
    make_key(path)

    assert main(["keys", "make", str(path)]) == 2
    assert "rotate" in capsys.readouterr().err
