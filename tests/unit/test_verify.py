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
from pydicom.dataset import Dataset
from signed_samples import OURS, RICH, STRANGER, THEIRS, URI, assessed, with_stamp

import orthanc_provenance
from orthanc_provenance.cli import main
from orthanc_provenance.dicom.encode import encode_element
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.scan import Encoding
from orthanc_provenance.model import Assessment, Origin, Privacy
from orthanc_provenance.stamp.apply import apply
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
    stamped = apply(read_header(encode(image())), ACQUIRED, "test-1")
    assert stamped is not None
    dataset = decode(stamped)
    dataset.remove_private_tags()

    found, _ = verify(encode(dataset))

    assert found["standing"] == "none"
    assert "says original" in found["reasons"][0]


# --- what the public half says ----------------------------------------------------------------------------


GENERATED = assessed(Origin.AI_GENERATED)


def stamped(dataset: Dataset, assessment: Assessment) -> Dataset:
    """`dataset` with a whole stamp."""
    data = apply(read_header(encode(dataset)), assessment, "test-1", signer=OURS)
    assert data is not None
    return decode(data)


def equipment(state: str) -> Dataset:
    """Our Item in Contributing Equipment Sequence for `state`, as a gateway writes it."""
    origin = next(origin for origin in Origin if Assessment(origin).state.value == state)
    item: Dataset = stamped(image(), assessed(origin)).ContributingEquipmentSequence[0]
    return item


def says_not_synthetic(dataset: Dataset) -> None:
    dataset.SyntheticData = "NO"


def says_synthetic(dataset: Dataset) -> None:
    dataset.SyntheticData = "YES"


def names_another_state(dataset: Dataset) -> None:
    dataset.ContributingEquipmentSequence = [equipment("original")]


def names_no_state_that_there_is(dataset: Dataset) -> None:
    dataset.ContributingEquipmentSequence[0].SoftwareVersions = ["1", "2", "STATE:genuine"]


def names_a_further_state(dataset: Dataset) -> None:
    dataset.ContributingEquipmentSequence.append(equipment("simulated"))


@pytest.mark.parametrize("signer", [OURS, STRANGER])
@pytest.mark.parametrize(
    ("origin", "change", "named"),
    [
        (Origin.AI_GENERATED, says_not_synthetic, "Synthetic Data (0008,001C)"),
        (Origin.SIMULATED, says_not_synthetic, "Synthetic Data (0008,001C)"),
        (Origin.AI_GENERATED, names_another_state, "Contributing Equipment Sequence (0018,A001)"),
        (Origin.AI_GENERATED, names_no_state_that_there_is, "Contributing Equipment Sequence (0018,A001)"),
        (Origin.AI_GENERATED, names_a_further_state, "Contributing Equipment Sequence (0018,A001)"),
        (Origin.ACQUIRED, says_synthetic, "Synthetic Data (0008,001C)"),
        (Origin.ACQUIRED, names_a_further_state, "Contributing Equipment Sequence (0018,A001)"),
        (Origin.NON_IMAGE, says_synthetic, "Synthetic Data (0008,001C)"),
    ],
)
def test_a_public_half_that_contradicts_what_was_signed_is_altered(
    verify: Callable[..., Any], signer: Signer, origin: Origin, change: Callable[[Dataset], None], named: str
) -> None:
    data = apply(read_header(encode(image())), assessed(origin), "test-1", signer=signer)
    assert data is not None
    dataset = decode(data)
    change(dataset)

    found, status = verify(encode(dataset))

    assert (found["standing"], found["altered"], status) == ("altered", ["stamp"], 1)
    assert named in found["reasons"][0]


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("SyntheticData", "Synthetic Data (0008,001C) is gone"),
        ("ContributingEquipmentSequence", "Contributing Equipment Sequence (0018,A001) is gone"),
    ],
)
def test_a_public_half_that_was_removed_is_told_and_the_rest_stays_valid(
    verify: Callable[..., Any], removed: str, named: str
) -> None:
    dataset = stamped(image(), GENERATED)
    delattr(dataset, removed)

    found, status = verify(encode(dataset))

    assert (found["standing"], found["altered"], status) == ("valid", [], 0)
    assert [named in reason for reason in found["reasons"]] == [True]


@pytest.mark.parametrize("value", ["YES", "NO"])
def test_what_the_sender_said_of_synthetic_data_is_no_alteration(
    verify: Callable[..., Any], value: str
) -> None:
    found, status = verify(encode(stamped(image(SyntheticData=value), GENERATED)))

    assert (found["standing"], status) == ("valid", 0)
    assert ["said NO when" in reason for reason in found["reasons"]] == ([True] if value == "NO" else [])


def test_a_label_that_a_site_adds_and_that_agrees_is_no_alteration(verify: Callable[..., Any]) -> None:
    for origin, value in ((Origin.ACQUIRED, "NO"), (Origin.AI_DERIVED, "YES")):
        dataset = stamped(image(), assessed(origin))
        dataset.SyntheticData = value

        assert verify(encode(dataset))[0]["standing"] == "valid"


@pytest.mark.parametrize(("first", "second"), [(ACQUIRED, GENERATED), (GENERATED, ACQUIRED)])
def test_a_stamp_cannot_be_taken_back_by_removing_its_block(
    verify: Callable[..., Any], first: Assessment, second: Assessment
) -> None:
    dataset = stamped(stamped(image(), first), second)
    assert verify(encode(dataset))[0]["standing"] == "valid"
    for tag in [element.tag for element in dataset.group_dataset(0x0099)]:
        if tag.element == 0x11 or tag.element >> 8 == 0x11:
            del dataset[tag]

    found, _ = verify(encode(dataset))

    assert (found["standing"], found["stamps"]) == ("altered", 1)


def test_what_was_left_of_an_earlier_stamp_when_it_was_signed_is_no_alteration(
    verify: Callable[..., Any],
) -> None:
    dataset = stamped(image(), ACQUIRED)
    dataset.remove_private_tags()
    dataset = stamped(dataset, assessed(Origin.ACQUIRED, privacy=Privacy(identity_removed=True)))
    assert len(dataset.ContributingEquipmentSequence) == 2

    found, _ = verify(encode(dataset))

    assert (found["standing"], found["reasons"]) == ("valid", [])


def test_what_digital_signatures_kept_out_of_a_stamp_is_not_missed(verify: Callable[..., Any]) -> None:
    mac = Dataset()
    mac.MACIDNumber, mac.DataElementsSigned = 1, [0x0008001C, 0x0018A001]

    found, _ = verify(encode(stamped(image(MACParametersSequence=[mac]), GENERATED)))

    assert (found["standing"], found["reasons"]) == ("valid", [])


# --- one meaning for every reader -------------------------------------------------------------------------


def test_an_object_that_readers_read_differently_is_altered(verify: Callable[..., Any]) -> None:
    data = encode(stamped(image(), ACQUIRED))
    place = read_header(data).elements[0x00991001].start
    twice = data[:place] + encode_element(0x00991001, b"LO", b"ai-generated", Encoding()) + data[place:]

    found, status = verify(twice)

    assert (found["standing"], status) == ("altered", 1)
    assert "stamp" in found["altered"]
    assert "readers disagree" in "; ".join(found["reasons"])


@pytest.mark.parametrize("number", [0x00, 0x0B, 0x10, 0xFF])
def test_an_element_in_the_block_that_no_stamp_writes_is_told(
    verify: Callable[..., Any], number: int
) -> None:
    dataset = stamped(image(), ACQUIRED)
    dataset.add_new(0x00991000 | number, "LO", "DOE^JOHN")

    found, _ = verify(encode(dataset))

    assert (found["standing"], found["altered"]) == ("altered", ["stamp"])
    assert f"(0099,10{number:02X})" in found["reasons"][0]
    assert "DOE" not in "; ".join(found["reasons"])


@pytest.mark.parametrize("number", [0x05, 0x09])
@pytest.mark.parametrize("undefined", [True, False])
def test_a_sequence_in_place_of_a_value_that_was_not_signed_is_told(
    verify: Callable[..., Any], number: int, undefined: bool
) -> None:
    dataset = stamped(image(), ACQUIRED)
    dataset.add_new(0x00991000 | number, "SQ", [equipment("original")])
    dataset[0x00991000 | number].is_undefined_length = undefined

    found, _ = verify(encode(dataset))

    assert (found["standing"], found["altered"]) == ("altered", ["stamp"])


def test_nothing_hides_behind_the_name_of_the_private_creator(verify: Callable[..., Any]) -> None:
    dataset = stamped(image(), ACQUIRED)
    dataset[0x00990010].value = [dataset[0x00990010].value, "DOE^JOHN"]

    found, _ = verify(encode(dataset))

    assert (found["standing"], found["altered"]) == ("altered", ["stamp"])


# --- stamps, files, keys ----------------------------------------------------------------------------------


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


def test_a_name_of_a_file_breaks_no_table_and_forges_no_row(
    tmp_path: Path, keys: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    good = with_stamp(encode(image()), RICH)
    for name, data in ((b"\xff.dcm", good), (b"a\nvalid      original", b"x"), (b"b\x1b[2J.dcm", good)):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)

    status = main(["verify", str(folder), "--keys", str(keys)])

    out, _ = capsysbinary.readouterr()
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == [b"(error)", b"valid", b"valid"]
    assert out.isascii()
    assert b"\x1b" not in out


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
