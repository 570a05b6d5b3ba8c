"""What incoming stamps are worth: nothing is gained by writing, copying, moving or changing one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dicom_samples import decode, encode, image
from pydicom.dataset import Dataset
from signed_samples import OURS, STRANGER, THEIRS, URI, assessed, standings, trusted, with_stamp

from orthanc_provenance.config import Route
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.errors import StampError
from orthanc_provenance.evidence.catalogue import load_catalogue
from orthanc_provenance.index.rows import is_structured
from orthanc_provenance.intake import Intake, assess_received
from orthanc_provenance.model import Assessment, Modifier, Origin, Privacy, Verdict
from orthanc_provenance.policy import Content, decide
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import CREATOR, PIXEL_DIGEST, STATE, read_stamps
from orthanc_provenance.stamp.elements import MANUFACTURER, MODEL_NAME
from orthanc_provenance.stamp.received import CLAIMED, CONFLICT, MAX_STAMPS, TRUSTED
from orthanc_provenance.stamp.statement import Signer
from orthanc_provenance.stamp.trust import TrustedKeys, Word

CATALOGUE = load_catalogue()
CT = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "KVP": "120",
    "XRayTubeCurrent": "200",
    "ConvolutionKernel": "H31s",
}
GENERATED = {**CT, "ManufacturerModelName": "StyleGAN2"}
ACQUIRED = assessed(Origin.ACQUIRED)


def received(data: bytes) -> Assessment:
    """What a gateway makes of an object that arrives; it trusts its own key and that of another gateway."""
    return Intake(CATALOGUE, "All", OURS, trusted()).receive(data).record.assessment


def markers(assessment: Assessment) -> set[str]:
    return {found.marker for found in assessment.evidence}


def released(assessment: Assessment) -> bool:
    """Whether the origin alone would let it out on a route that has the defaults."""
    content = Content("", assessment.origin, assessment.labelled, is_structured(assessment), False)
    return decide((content,), Route())[""].verdict is Verdict.RELEASE


def hand_written(dataset: Dataset, state: str, origin: str, digest: str = "") -> bytes:
    """A block that somebody wrote with an editor."""
    block = dataset.private_block(0x0099, CREATOR, create=True)
    block.add_new(0x01, "LO", state)
    block.add_new(0x02, "LO", origin)
    if digest:
        block.add_new(0x08, "UC", digest)
    return encode(dataset)


def left_over(state: str) -> Dataset:
    """What a de-identification leaves of a stamp, or what somebody wrote who knows what it would leave."""
    item = Dataset()
    item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, MODEL_NAME
    item.SoftwareVersions = ["0.1.0", "test-1", f"STATE:{state}"]
    return image(ContributingEquipmentSequence=[item])


@pytest.mark.parametrize("signer", [OURS, THEIRS])
def test_a_trusted_stamp_tells_what_stripped_headers_no_longer_do(signer: Signer) -> None:
    assert received(encode(image(**CT))).origin is Origin.ACQUIRED
    assert received(encode(image())).origin is Origin.UNDETERMINED

    found = received(with_stamp(encode(image()), ACQUIRED, signer))

    assert found.origin is Origin.ACQUIRED
    assert Modifier.INHERITED in found.modifiers
    assert TRUSTED in markers(found)
    assert released(found)


@pytest.mark.parametrize("origin", [Origin.AI_GENERATED, Origin.SIMULATED, Origin.AI_DERIVED])
def test_a_trusted_stamp_that_is_more_suspicious_wins(origin: Origin) -> None:
    found = received(with_stamp(encode(image(**CT)), assessed(origin), THEIRS))

    assert found.origin is origin
    assert Modifier.CONFLICT not in found.modifiers


def test_evidence_that_is_more_suspicious_wins_against_a_trusted_stamp_and_is_a_conflict() -> None:
    found = received(with_stamp(encode(image(**GENERATED)), ACQUIRED, THEIRS))

    assert found.origin is Origin.AI_GENERATED
    assert Modifier.CONFLICT in found.modifiers
    assert CONFLICT in markers(found)


def test_a_trusted_stamp_that_agrees_is_evidence_beside_the_other() -> None:
    plain, found = (
        received(data) for data in (encode(image(**CT)), with_stamp(encode(image(**CT)), ACQUIRED, THEIRS))
    )

    assert (found.origin, found.modifiers) == (plain.origin, plain.modifiers)
    assert markers(found) == {*markers(plain), TRUSTED}


def test_what_a_gateway_has_stamped_itself_reads_as_it_did_before() -> None:
    plain = received(encode(image(**CT)))

    assert received(with_stamp(encode(image(**CT)), plain)) == plain


@pytest.mark.parametrize("signer", [None, STRANGER])
def test_a_stamp_that_nobody_trusted_has_signed_is_shown_and_opens_nothing(signer: Signer | None) -> None:
    found = received(with_stamp(encode(image()), ACQUIRED, signer))

    assert found.origin is Origin.UNDETERMINED
    assert CLAIMED in markers(found)
    assert not released(found)


@pytest.mark.parametrize("signer", [None, STRANGER])
@pytest.mark.parametrize("origin", [Origin.AI_DERIVED, Origin.AI_GENERATED, Origin.SIMULATED])
@pytest.mark.parametrize("attributes", [CT, {}])
def test_a_claim_is_believed_where_it_closes_and_releases_nothing(
    signer: Signer | None, origin: Origin, attributes: dict[str, str]
) -> None:
    found = received(with_stamp(encode(image(**attributes)), assessed(origin, labelled=True), signer))

    assert found.origin is origin
    assert not found.labelled
    assert not released(found)


@pytest.mark.parametrize("state", ["original", "privacy-protected", "ai-derived", "non-image"])
@pytest.mark.parametrize("origin", ["acquired", "ai-derived", "non-image", "nonsense"])
@pytest.mark.parametrize("with_digest", [True, False])
def test_whoever_writes_a_block_by_hand_gains_nothing(state: str, origin: str, with_digest: bool) -> None:
    digest = pixel_digest(read_header(encode(image()))) if with_digest else ""
    for attributes in ({}, GENERATED):
        found = received(hand_written(image(**attributes), state, origin, digest))

        assert not released(found)
        assert found.origin is not Origin.ACQUIRED
        assert not found.labelled
        assert found.privacy == Privacy()


def test_a_block_written_by_hand_that_contradicts_the_evidence_is_a_conflict() -> None:
    found = received(hand_written(image(**GENERATED), "original", "acquired"))

    assert found.origin is Origin.AI_GENERATED
    assert Modifier.CONFLICT in found.modifiers


@pytest.mark.parametrize("state", ["original", "privacy-protected", "ai-derived", "non-image"])
def test_an_equipment_item_written_by_hand_gains_nothing(state: str) -> None:
    found = received(encode(left_over(state)))

    assert found.origin in (Origin.UNDETERMINED, Origin.AI_DERIVED)
    assert not released(found)


def altered_pixels(data: bytes) -> bytes:
    dataset = decode(data)
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    return encode(dataset)


def altered_state(data: bytes) -> bytes:
    return data.replace(b"undetermined", b"original    ")


def altered_signature(data: bytes) -> bytes:
    place = data.index(b'"sig":"') + 10
    return data[:place] + (b"A" if data[place : place + 1] != b"A" else b"B") + data[place + 1 :]


@pytest.mark.parametrize("alter", [altered_pixels, altered_state, altered_signature])
@pytest.mark.parametrize("attributes", [CT, {}])
def test_a_stamp_that_was_altered_is_a_conflict(
    alter: Callable[[bytes], bytes], attributes: dict[str, str]
) -> None:
    data = with_stamp(encode(image(**attributes)), assessed(Origin.UNDETERMINED), THEIRS)
    assert Modifier.CONFLICT not in received(data).modifiers

    found = received(alter(data))

    assert Modifier.CONFLICT in found.modifiers
    assert found.origin is Origin.UNDETERMINED


def test_a_digest_that_is_not_that_of_the_pixels_is_a_conflict_without_a_signature_too() -> None:
    values = {PIXEL_DIGEST: b"sha256:" + b"0" * 64}
    found = received(with_stamp(encode(image(**CT)), ACQUIRED, None, values=values))

    assert Modifier.CONFLICT in found.modifiers


def test_a_statement_lifted_onto_other_pixels_opens_nothing_and_is_a_conflict() -> None:
    source = decode(with_stamp(encode(image()), ACQUIRED, THEIRS))
    target = image(PixelData=bytes(range(1, 17)))
    for element in source.group_dataset(0x0099):
        target.add(element)

    found = received(encode(target))

    assert found.origin is Origin.UNDETERMINED
    assert Modifier.CONFLICT in found.modifiers


def test_a_statement_lifted_onto_the_same_pixels_says_nothing_about_the_header() -> None:
    protected = assessed(
        Origin.AI_GENERATED, labelled=True, privacy=Privacy(identity_removed=True, defaced=True)
    )
    source = decode(with_stamp(encode(image()), protected, THEIRS))
    target = image(PatientName="Doe^Jane")
    for element in source.group_dataset(0x0099):
        target.add(element)

    found = received(encode(target))

    assert found.origin is Origin.AI_GENERATED
    assert not found.privacy.identity_removed
    assert found.privacy.defaced  # which is about pixels
    assert not found.labelled
    assert not released(found)


def test_the_last_word_of_a_chain_counts_and_not_its_past() -> None:
    first = with_stamp(encode(image()), assessed(Origin.UNDETERMINED), OURS)
    second = with_stamp(first, ACQUIRED, THEIRS)

    assert received(second).origin is Origin.ACQUIRED


def test_the_chain_and_not_the_place_in_the_object_tells_which_word_is_the_last() -> None:
    first = with_stamp(encode(image()), ACQUIRED, OURS)
    dataset = decode(with_stamp(first, assessed(Origin.AI_GENERATED), THEIRS))
    for number in range(0x0C):
        pair = [dataset.pop((0x0099, block << 8 | number), None) for block in (0x10, 0x11)]
        for element, block in zip(pair, (0x11, 0x10), strict=True):
            if element is not None:
                dataset.add_new((0x0099, block << 8 | number), element.VR, element.value)
    blocks = [stamp.origin for stamp in read_stamps(read_header(encode(dataset)))]
    assert blocks == [Origin.AI_GENERATED, Origin.ACQUIRED]

    assert received(encode(dataset)).origin is Origin.AI_GENERATED


def test_a_block_appended_to_a_trusted_one_opens_nothing() -> None:
    first = with_stamp(encode(image(**CT)), assessed(Origin.AI_GENERATED), THEIRS)

    found = received(with_stamp(first, ACQUIRED, STRANGER))

    assert found.origin is Origin.AI_GENERATED
    assert Modifier.CONFLICT in found.modifiers


def test_an_item_left_of_a_state_that_a_later_stamp_has_replaced_closes_nothing() -> None:
    dataset = left_over("undetermined")
    first = with_stamp(encode(dataset), assessed(Origin.UNDETERMINED), OURS)

    assert received(with_stamp(first, ACQUIRED, OURS)).origin is Origin.ACQUIRED
    assert received(with_stamp(encode(dataset), ACQUIRED, OURS)).origin is Origin.UNDETERMINED


def test_of_many_stamps_the_latest_are_checked_and_the_others_claims() -> None:
    data = with_stamp(encode(image()), ACQUIRED, OURS)
    for _ in range(MAX_STAMPS):
        data = with_stamp(data, assessed(Origin.UNDETERMINED), None)

    assert received(data).origin is Origin.UNDETERMINED


def test_pixels_that_cannot_be_read_make_no_stamp_believed() -> None:
    found = received(with_stamp(encode(image()), ACQUIRED, THEIRS)[:-4])

    assert found.origin is Origin.UNDETERMINED


def test_without_keys_every_stamp_is_a_claim() -> None:
    header = read_header(with_stamp(encode(image()), ACQUIRED, OURS))

    assert assess_received(header, CATALOGUE).origin is Origin.UNDETERMINED


def test_a_report_that_was_corrected_on_its_way_is_no_conflict() -> None:
    report = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    del report.PixelData
    dataset = decode(with_stamp(encode(report), assessed(Origin.NON_IMAGE), THEIRS))
    assert TRUSTED in markers(received(encode(dataset)))
    dataset.PatientID = "4712"

    found = received(encode(dataset))

    assert found.origin is Origin.NON_IMAGE
    assert Modifier.CONFLICT not in found.modifiers
    assert TRUSTED not in markers(found)


def test_evidence_of_stamps_names_the_element_and_the_word_and_nothing_that_was_written_there() -> None:
    found = received(hand_written(image(), "original", "acquired"))
    (claim,) = [evidence for evidence in found.evidence if evidence.marker == CLAIMED]

    assert (claim.attribute, claim.value) == (f"(0099,10{STATE.number:02X})", "original")


def test_pixels_that_nobody_signed_do_not_pass_beside_those_that_were() -> None:
    dataset = decode(with_stamp(encode(image()), ACQUIRED, THEIRS))
    dataset.add_new(0x7FE00008, "OF", bytes(range(16)))

    assert received(encode(dataset)).origin is Origin.UNDETERMINED


# --- the stamp of this gateway above those that are not to be believed -----------------------------------


def passed(data: bytes) -> bytes:
    """What the gateway stores of an object that arrives."""
    stamped = Intake(CATALOGUE, "All", OURS, trusted()).receive(data).stamped
    return data if stamped is None else stamped


@pytest.mark.parametrize("signer", [STRANGER, None])
def test_what_a_gateway_gives_out_is_valid_against_its_own_keys_whoever_stamped_before(
    signer: Signer | None,
) -> None:
    came = with_stamp(encode(image(**CT)), ACQUIRED, signer)

    left = passed(came)

    found = standings(left, TrustedKeys([OURS.public_key]))
    assert [one.word for one in found] == [Word.UNTRUSTED, Word.VALID]
    assert found[-1].key_id == OURS.key_id
    assert passed(left) == left


@pytest.mark.parametrize("signer", [OURS, THEIRS])
def test_a_stamp_that_is_believed_and_agrees_gets_no_other_beside_it(signer: Signer) -> None:
    came = with_stamp(encode(image(**CT)), ACQUIRED, signer)

    left = passed(came)

    assert read_stamps(read_header(left)) == read_stamps(read_header(came))
    assert passed(left) == left


def test_a_claim_that_closes_opens_nothing_when_it_comes_back_under_the_signature_of_the_gateway() -> None:
    claimed = with_stamp(encode(image()), assessed(Origin.AI_DERIVED), None)
    assert not released(received(claimed))

    back = received(passed(claimed))

    assert back.origin is Origin.AI_DERIVED
    assert not is_structured(back)
    assert not released(back)


def test_a_conflict_stays_one_when_the_object_comes_back_with_the_stamp_of_the_gateway() -> None:
    data = with_stamp(encode(image(**CT)), ACQUIRED)
    moved = data[:-1] + bytes([data[-1] ^ 1])
    assert Modifier.CONFLICT in received(moved).modifiers

    again = passed(moved)

    assert standings(again)[-1].word is Word.VALID
    assert CONFLICT in markers(received(again))
    assert Modifier.CONFLICT in received(again).modifiers
    assert passed(again) == again


def test_a_declaration_is_named_in_the_block_and_in_what_is_signed() -> None:
    header = read_header(encode(image(**CT)))

    stamped = apply(header, ACQUIRED, "test-1", signer=OURS, declaration_uri=URI)

    assert stamped is not None
    assert read_stamps(read_header(stamped))[0].declaration_uri == URI
    (found,) = standings(stamped)
    assert found.word is Word.VALID
    assert found.statement is not None
    assert found.statement.declaration_uri == URI
    again = read_header(stamped)
    assert apply(again, ACQUIRED, "test-1", signer=OURS, declaration_uri=URI) is None
    assert apply(again, ACQUIRED, "test-1", signer=OURS) is None
    assert apply(again, ACQUIRED, "test-1", signer=OURS, declaration_uri=f"{URI}/2") is not None


@pytest.mark.parametrize("uri", ["https://example.org/a b", "a\\b", "zw\u00f6lf", "a\nb"])
def test_what_is_no_uri_names_no_declaration(uri: str) -> None:
    with pytest.raises(StampError, match="declaration"):
        apply(read_header(encode(image())), ACQUIRED, "test-1", declaration_uri=uri)
