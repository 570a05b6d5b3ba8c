"""The way of one instance through the rooms, and what is checked again when it leaves."""

from __future__ import annotations

from typing import Any

import pytest
from dicom_samples import decode, encode, image

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.errors import HeaderError, StampError
from orthanc_provenance.evidence.catalogue import load_catalogue
from orthanc_provenance.index.rows import _assessed
from orthanc_provenance.intake import Intake, Received
from orthanc_provenance.model import Modifier, Origin

CT = {"Modality": "CT", "KVP": "120", "XRayTubeCurrent": "200", "ConvolutionKernel": "H31s"}
GENERATED = {**CT, "Manufacturer": "Research", "ManufacturerModelName": "StyleGAN2"}
CATALOGUE = load_catalogue()


def intake(stamp: str = "All") -> Intake:
    return Intake(CATALOGUE, stamp)


def row_of(received: Received) -> dict[str, Any]:
    """The row that the index keeps of what was received."""
    return {**received.record.instance, **_assessed(received.record)}


def stamped(**values: Any) -> bytes:
    data = intake().receive(encode(image(**values))).stamped
    assert data is not None
    return data


def deidentified(data: bytes, *keywords: str) -> bytes:
    """As a de-identifier that removes private elements and `keywords` leaves it."""
    dataset = decode(data)
    dataset.remove_private_tags()
    for keyword in keywords:
        del dataset[keyword]
    return encode(dataset)


def test_an_unlabelled_object_stays_so_when_it_comes_back_stamped_and_de_identified() -> None:
    returned = intake().receive(deidentified(stamped(**GENERATED))).record.assessment

    assert returned.origin is Origin.AI_GENERATED
    assert not returned.labelled


def test_what_is_left_of_a_stamp_closes_when_all_other_evidence_is_gone() -> None:
    data = deidentified(stamped(**GENERATED), "ManufacturerModelName", "SyntheticData")

    returned = intake().receive(data).record.assessment

    assert returned.origin is Origin.AI_GENERATED
    assert Modifier.INHERITED in returned.modifiers
    assert not returned.labelled


def test_a_stamp_that_claims_a_synthetic_object_original_opens_nothing() -> None:
    dataset = decode(stamped(**CT))
    dataset.ManufacturerModelName = "StyleGAN2"

    assert intake().receive(encode(dataset)).record.assessment.origin is Origin.AI_GENERATED


def test_pixels_that_are_cut_off_cost_the_stamp_and_not_the_assessment() -> None:
    data = encode(image(**GENERATED))

    received = intake().receive(data[:-10])

    assert received.stamped is None
    assert received.record.assessment.origin is Origin.AI_GENERATED
    assert "no stamp" in received.record.assessment.reason


@pytest.mark.parametrize("stamp", ["All", "None"])
def test_what_was_assessed_leaves(stamp: str) -> None:
    data = encode(image(**CT))
    received = intake(stamp).receive(data)
    stored = received.stamped or data

    assert intake(stamp).stamp_on_exit(stored, row_of(received)) == stored


def test_what_was_kept_unstamped_is_stamped_as_it_leaves() -> None:
    data = encode(image(**CT))
    row = row_of(intake().receive(data, write_stamp=False))

    assert intake().stamp_on_exit(data, row) == intake().receive(data).stamped


@pytest.mark.parametrize("stamp", ["All", "None"])
def test_another_object_under_the_same_identifiers_does_not_leave(stamp: str) -> None:
    row = row_of(intake(stamp).receive(encode(image(**CT))))
    dataset = image(**CT)
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    replaced = encode(dataset)

    with pytest.raises(StampError):
        intake(stamp).stamp_on_exit(replaced, row)


def test_an_object_of_another_state_under_the_same_identifiers_does_not_leave() -> None:
    row = row_of(intake().receive(encode(image(**CT))))

    with pytest.raises(StampError):
        intake().stamp_on_exit(stamped(**GENERATED), row)


def test_a_header_that_is_made_to_take_long_is_refused() -> None:
    element = bytes.fromhex("0008 1000".replace(" ", "")) + b"LO\0\0"
    item = b"\xfe\xff\x00\xe0" + (len(element) * 1000).to_bytes(4, "little") + element * 1000
    sequence = b"\x18\x00\x01\xa0SQ\0\0" + (len(item) * 500).to_bytes(4, "little") + item * 500
    data = encode(image(**CT))
    header = read_header(data)
    place = next(found.start for tag, found in header.elements.items() if tag > 0x0018A001)

    with pytest.raises(HeaderError, match="too many elements"):
        intake().receive(data[:place] + sequence + data[place:])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_what_was_stored_is_told_again_by_its_seal(syntax: str) -> None:
    received = intake().receive(encode(image(**CT), syntax))
    assert received.stamped is not None
    row = row_of(received)
    assert bool(row["seal"]) == (not syntax.endswith(".99"))
    assert intake().stamp_on_exit(received.stamped, row) is received.stamped
    again = intake().receive(received.stamped)
    assert again.stamped is None
    assert row_of(again)["seal"] == row["seal"]


@pytest.mark.parametrize(
    "changed", [{"state": "simulated", "origin": "simulated"}, {"pixel_digest": "sha256:0"}]
)
def test_a_seal_speaks_for_no_other_assessment(changed: dict[str, str]) -> None:
    received = intake().receive(encode(image(**CT)))
    assert received.stamped is not None
    with pytest.raises(StampError):
        intake().stamp_on_exit(received.stamped, {**row_of(received), **changed})


def test_an_object_that_was_only_tried_has_no_seal() -> None:
    assert intake().receive(encode(image(**CT)), write_stamp=False).record.seal == ""


LABEL = b"\x08\0\x1c\0CS\x04\0YES "


@pytest.mark.parametrize("stamp", ["All", "Synthetic", "None"])
@pytest.mark.parametrize("came_stamped", [False, True])
def test_what_readers_would_read_differently_is_kept_and_withheld(stamp: str, came_stamped: bool) -> None:
    data = stamped(**CT) if came_stamped else encode(image(**CT))
    place = next(found.start for tag, found in read_header(data).elements.items() if tag > 0x00080060)
    again = b"\x08\0\x60\0CS\x02\0MR"

    for told_twice in (data + LABEL, data[:place] + again + data[place:]):
        received = intake(stamp).receive(told_twice)

        assert received.stamped is None
        assert "repeat or descend" in received.record.assessment.reason
        assert not received.record.stamped


def test_what_was_appended_to_a_stored_object_does_not_leave() -> None:
    received = intake().receive(encode(image(**CT)))
    assert received.stamped is not None

    with pytest.raises((HeaderError, StampError), match="repeat or descend"):
        intake().stamp_on_exit(received.stamped + LABEL, row_of(received))
