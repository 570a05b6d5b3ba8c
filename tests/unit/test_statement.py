"""What is signed, whom it binds, and that no word of it can be changed unseen."""

from __future__ import annotations

import base64
import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from dicom_samples import DEFLATED, IMPLICIT, NATIVE, decode, encode, image, real_files
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from signed_samples import (
    OURS,
    REVISION,
    RICH,
    STRANGER,
    THEIRS,
    URI,
    assessed,
    standing,
    standings,
    trusted,
    with_stamp,
)

from orthanc_provenance import __version__
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.encode import encode_element
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.scan import Encoding
from orthanc_provenance.errors import StampError, StatementError
from orthanc_provenance.model import Origin
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import (
    CREATOR,
    DICTIONARY,
    EVIDENCE,
    GENERATOR,
    PIXEL_DIGEST,
    SIGNED_STATEMENT,
    STATE,
    BlockElement,
    block_values,
    read_stamp,
)
from orthanc_provenance.stamp.keys import pem_of
from orthanc_provenance.stamp.statement import (
    PIXELS,
    Subject,
    digest_of,
    open_envelope,
    read_statement,
)
from orthanc_provenance.stamp.subject import data_set_digest, subject_of
from orthanc_provenance.stamp.trust import NO_KEYS, Word

SUBJECT = Subject(PIXELS, "sha256:" + "ab" * 32)


def report(**values: object) -> Dataset:
    """A structured report: an object without pixels."""
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", **values)
    del dataset.PixelData, dataset.Rows, dataset.Columns, dataset.BitsAllocated
    dataset.ValueType = "CONTAINER"
    return dataset


def payload(statement: bytes) -> dict[str, Any]:
    found = json.loads(open_envelope(statement).payload)
    assert isinstance(found, dict)
    return found


def test_a_statement_is_an_in_toto_statement_about_the_pixels() -> None:
    found = payload(OURS.sign(RICH, SUBJECT, REVISION, URI, b"before"))

    assert found == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "pixels", "digest": {"sha256": "ab" * 32}}],
        "predicateType": "urn:orthanc-provenance:assessment:v1",
        "predicate": {
            "state": "privacy-protected",
            "origin": "acquired",
            "privacy": ["identity-removed", "defaced"],
            "labelled": False,
            "modifiers": ["phantom", "converted"],
            "evidence": ["test.marker", "test.other"],
            "catalogueRevision": REVISION,
            "softwareVersion": __version__,
            "declaration": URI,
            "previous": digest_of(b"before"),
        },
    }


def test_a_statement_repeats_what_the_object_says_in_public() -> None:
    other = Dataset()
    other.Manufacturer, other.SoftwareVersions = "ACME", ["STATE:simulated"]
    plain = image(ContributingEquipmentSequence=[other])

    def said(dataset: Dataset, origin: Origin) -> dict[str, Any]:
        data = apply(read_header(encode(dataset)), assessed(origin), REVISION, signer=OURS)
        assert data is not None
        predicate = payload(_statement_of(data))["predicate"]
        return {key: predicate[key] for key in ("syntheticData", "namedStates") if key in predicate}

    assert said(plain, Origin.AI_GENERATED) == {"syntheticData": "YES", "namedStates": ["ai-generated"]}
    assert said(plain, Origin.ACQUIRED) == {"namedStates": ["original"]}
    assert said(image(SyntheticData="DOE^JOHN"), Origin.SIMULATED) == {
        "syntheticData": "other",
        "namedStates": ["simulated"],
    }
    assert "namedStates" not in payload(OURS.sign(RICH, SUBJECT, REVISION))["predicate"]


def test_it_can_be_verified_by_hand_with_nothing_but_the_published_key() -> None:
    envelope = json.loads(OURS.sign(RICH, SUBJECT, REVISION))
    content = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(content), content)
    key = load_pem_public_key(pem_of(OURS.public_key).encode())

    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)  # type: ignore[union-attr,call-arg,arg-type]
    assert kind == b"application/vnd.in-toto+json"


def test_the_same_is_always_signed_with_the_same_bytes() -> None:
    assert OURS.sign(RICH, SUBJECT, REVISION) == OURS.sign(RICH, SUBJECT, REVISION)


def test_what_is_signed_is_what_the_block_says() -> None:
    data = with_stamp(encode(image()), RICH, uri=URI)

    assert standing(data).word is Word.VALID
    assert standing(data).reasons == ()


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
@pytest.mark.parametrize("make", [image, report])
def test_a_stamp_is_valid_in_every_encoding(syntax: str, make: Any) -> None:
    data = with_stamp(encode(make(), syntax), assessed(Origin.ACQUIRED))

    assert standing(data).word is Word.VALID


def test_a_stamp_stays_valid_when_the_same_pixel_bytes_are_encoded_otherwise() -> None:
    stamped = decode(with_stamp(encode(image()), RICH))

    assert standing(encode(stamped, IMPLICIT)).word is Word.VALID


@pytest.mark.parametrize("make", [image, report])
def test_a_second_stamp_names_the_first_and_both_hold(make: Any) -> None:
    first = with_stamp(encode(make()), assessed(Origin.UNDETERMINED))
    second = with_stamp(first, assessed(Origin.ACQUIRED), signer=THEIRS)

    assert [found.word for found in standings(second)] == [Word.VALID, Word.VALID]
    stamp = read_stamp(read_header(first))
    assert stamp is not None
    assert payload(_statement_of(second))["predicate"]["previous"] == digest_of(stamp.statement)


def _statement_of(data: bytes) -> bytes:
    stamp = read_stamp(read_header(data))
    assert stamp is not None
    return stamp.statement


def test_an_unknown_key_and_no_key_at_all_are_told_apart_from_a_false_one() -> None:
    data = with_stamp(encode(image()), RICH, signer=STRANGER)

    assert standing(data).word is Word.UNTRUSTED
    assert STRANGER.key_id in standing(data).reasons[0]
    unsigned = standing(with_stamp(encode(image()), RICH, signer=None))
    assert unsigned.word is Word.UNTRUSTED
    assert "not signed" in unsigned.reasons[0]


def test_who_trusts_nobody_still_sees_what_was_altered() -> None:
    data = with_stamp(encode(image()), RICH, values={STATE: b"original"})

    assert standing(data, NO_KEYS).word is Word.ALTERED


@pytest.mark.parametrize(
    "element",
    [element for element in DICTIONARY if element not in (SIGNED_STATEMENT, GENERATOR)],
    ids=lambda element: element.keyword,
)
@pytest.mark.parametrize("value", [b"AB", b"ORIGINAL", b""])
def test_every_element_of_the_block_is_bound(element: BlockElement, value: bytes) -> None:
    found = standing(with_stamp(encode(image()), RICH, uri=URI, values={element: value}))

    assert found.word is Word.ALTERED
    assert found.altered == ("stamp",)
    assert element.name in found.reasons[0]


@pytest.mark.parametrize("bit", range(0, 128, 7))
def test_one_bit_of_the_pixels_is_noticed(bit: int) -> None:
    dataset = decode(with_stamp(encode(image()), RICH))
    pixels = bytearray(dataset.PixelData)
    pixels[bit // 8] ^= 1 << bit % 8
    dataset.PixelData = bytes(pixels)

    found = standing(encode(dataset))

    assert (found.word, found.altered) == (Word.ALTERED, ("pixels",))


def test_every_bit_of_the_signed_statement_is_bound() -> None:
    original = OURS.sign(RICH, SUBJECT, REVISION)
    data = encode(image())
    for place in range(len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << place % 7
        found = standing(with_stamp(data, RICH, values={SIGNED_STATEMENT: bytes(changed)}))
        assert found.word is not Word.VALID, place


def test_a_signature_by_a_trusted_key_does_not_serve_under_the_name_of_another() -> None:
    envelope = json.loads(THEIRS.sign(RICH, SUBJECT, REVISION))
    envelope["signatures"][0]["keyid"] = OURS.key_id
    forged = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()

    found = standing(with_stamp(encode(image()), RICH, values={SIGNED_STATEMENT: forged}))

    assert found.word is Word.ALTERED
    assert OURS.key_id in found.reasons[0]


def test_a_statement_of_another_kind_by_the_same_key_is_no_stamp() -> None:
    manifest = OURS.sign_statement({"_type": "https://in-toto.io/Statement/v1", "predicateType": "other"})

    found = standing(with_stamp(encode(image()), RICH, values={SIGNED_STATEMENT: manifest}))

    assert found.word is Word.ALTERED


@pytest.mark.parametrize("same_pixels", [False, True])
def test_a_statement_lifted_into_another_object_speaks_of_its_pixels_only(same_pixels: bool) -> None:
    source = with_stamp(encode(image()), assessed(Origin.ACQUIRED))
    target = image(PatientID="4712", SOPInstanceUID="1.2.4")
    if not same_pixels:
        target.PixelData = bytes(reversed(target.PixelData))
    for element in decode(source).group_dataset(0x0099):
        target.add(element)

    # With the same pixels it is as true as before; `received` takes nothing else from it.
    assert standing(encode(target)).word is (Word.VALID if same_pixels else Word.ALTERED)


def test_a_statement_on_a_report_holds_for_no_other_report_and_no_image() -> None:
    source = decode(with_stamp(encode(report()), assessed(Origin.NON_IMAGE)))
    for target, altered in ((report(PatientID="4712"), "content"), (image(), "pixels")):
        for element in source.group_dataset(0x0099):
            target.add(element)

        assert standing(encode(target)).altered == (altered,)


def test_a_statement_on_an_image_holds_for_no_object_without_pixels() -> None:
    dataset = decode(with_stamp(encode(image()), assessed(Origin.ACQUIRED)))
    del dataset.PixelData

    assert standing(encode(dataset)).altered == ("pixels",)


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
def test_the_digest_of_a_data_set_is_the_same_with_a_stamp_and_without(syntax: str) -> None:
    data = encode(report(), syntax)
    stamped = apply(read_header(data), assessed(Origin.AI_GENERATED), REVISION)

    assert stamped is not None
    assert data_set_digest(read_header(stamped)) == data_set_digest(read_header(data))


def test_the_digest_of_a_data_set_binds_every_element() -> None:
    item = Dataset()
    item.Manufacturer = "somebody else"
    original = report(ContributingEquipmentSequence=[item], Manufacturer="ACME", InstitutionName="X")
    digest = data_set_digest(read_header(encode(original)))
    for keyword in ("Manufacturer", "InstitutionName", "ContributingEquipmentSequence", "PatientID"):
        changed = decode(encode(original))
        del changed[keyword]
        assert data_set_digest(read_header(encode(changed))) != digest
    changed = decode(encode(original))
    changed.ContributingEquipmentSequence[0].Manufacturer = "somebody ELSE"
    assert data_set_digest(read_header(encode(changed))) != digest
    changed = decode(encode(original))
    changed.add_new(0x00990010, "LO", "ANOTHER CREATOR")
    changed.add_new(0x00991001, "LO", "X")
    assert data_set_digest(read_header(encode(changed))) != digest


def of_a_sequence(value: bytes, vr: bytes = b"SQ") -> bytes:
    """A report whose Contributing Equipment Sequence has these bytes."""
    data = encode(report())
    place = next(found.start for tag, found in read_header(data).elements.items() if tag > 0x0018A001)
    return data[:place] + encode_element(0x0018A001, vr, value, Encoding()) + data[place:]


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def test_nothing_hides_in_a_sequence_that_stamps_add_to() -> None:
    maker = encode_element(0x00080070, b"LO", b"SCANNER", Encoding())
    hidden = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + encode_element(0x00081090, b"LO", b"X", Encoding())
    written = {
        digest_of_set(data)
        for data in (
            encode(report()),
            of_a_sequence(item(maker)),
            of_a_sequence(item(maker + hidden)),
            of_a_sequence(item(maker) + b"stray bytes."),
            of_a_sequence(item(maker) * 2),
            of_a_sequence(item(maker), b"OB"),
            of_a_sequence(b"X", b"LO"),
            of_a_sequence(b"Y", b"LO"),
        )
    }

    assert len(written) == 8


def digest_of_set(data: bytes) -> str:
    return data_set_digest(read_header(data))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ManufacturerModelName", "DOE^JOHN"),
        ("SoftwareVersions", ["1", "2", "DOE^JOHN"]),
        ("SoftwareVersions", ["1", "2", "STATE:original", "LABELLED:NO", "DOE^JOHN"]),
        ("PurposeOfReferenceCodeSequence", []),
        ("StationName", "DOE^JOHN"),
        ("PurposeOfReferenceCodeSequence>CodeValue", "109100"),
    ],
)
def test_an_item_is_that_of_a_stamp_only_where_it_says_nothing_else(keyword: str, value: object) -> None:
    stamped = apply(read_header(encode(report())), assessed(Origin.NON_IMAGE), REVISION)
    assert stamped is not None
    dataset = decode(stamped)
    assert digest_of_set(encode(dataset)) == digest_of_set(encode(report()))
    place = dataset.ContributingEquipmentSequence[0]
    if ">" in keyword:
        place, keyword = place.PurposeOfReferenceCodeSequence[0], keyword.partition(">")[2]
    setattr(place, keyword, value)

    assert digest_of_set(encode(dataset)) != digest_of_set(encode(report()))


def test_what_is_in_a_block_and_no_stamp_writes_there_is_bound() -> None:
    dataset = decode(with_stamp(encode(report()), assessed(Origin.NON_IMAGE)))
    digest = digest_of_set(encode(dataset))
    for tag, value in ((0x0099100B, "StyleGAN"), (0x009910FF, "DOE^JOHN"), (0x00990020, CREATOR)):
        changed = copy.deepcopy(dataset)
        changed.add_new(tag, "LO", value)

        assert digest_of_set(encode(changed)) != digest


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.stem)
def test_real_objects_take_a_valid_stamp_that_leaves_their_subject_as_it_was(path: Path) -> None:
    data = path.read_bytes()
    header = read_header(data)
    try:
        stamped = with_stamp(data, RICH)
    except StampError as problem:
        pytest.skip(str(problem))

    assert standing(stamped).word is Word.VALID
    after = read_header(stamped)
    assert subject_of(after, pixel_digest(after)) == subject_of(header, pixel_digest(header))
    assert data_set_digest(after) == data_set_digest(header)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"payload":1,"payloadType":"x","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":[1]}',
        b'{"payload":"","payloadType":"x","signatures":[{"keyid":[],"sig":""}]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"x" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_envelope_is_refused_and_never_breaks_the_reader(data: bytes) -> None:
    with pytest.raises(StatementError):
        open_envelope(data)
    assert standing(with_stamp(encode(image()), RICH, values={SIGNED_STATEMENT: data})).word is not Word.VALID


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("predicate", "state"), "perfect"),
        (("predicate", "origin"), None),
        (("predicate", "labelled"), "NO"),
        (("predicate", "evidence"), "all"),
        (("predicate", "modifiers"), [1]),
        (("predicate", "previous"), "x"),
        (("predicate", "syntheticData"), True),
        (("predicate", "namedStates"), ["perfect"]),
        (("predicate",), []),
        (("subject",), []),
        (("subject",), [{}, {}]),
        (("subject",), 7),
        (("predicateType",), "other"),
    ],
)
def test_a_statement_that_does_not_say_what_it_must_is_refused(path: tuple[str, ...], value: object) -> None:
    content = payload(OURS.sign(RICH, SUBJECT, REVISION))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(StatementError):
        read_statement(json.dumps(content).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@given(
    place=st.sampled_from(("", "_type", "subject", "predicateType", "predicate")), value=JSON, inner=st.data()
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_payload_says_is_checked_without_a_stumble(
    place: str, value: object, inner: st.DataObject
) -> None:
    content: Any = payload(OURS.sign(RICH, SUBJECT, REVISION))
    if place == "predicate":
        content[place][inner.draw(st.sampled_from(sorted(content[place])))] = value
    elif place:
        content[place] = value
    signed = OURS.sign_statement(content if place else value)  # type: ignore[arg-type]

    assert (
        standing(with_stamp(encode(image()), RICH, values={SIGNED_STATEMENT: signed})).word is not Word.VALID
    )


@given(place=st.sampled_from(("payload", "payloadType", "signatures", "keyid", "sig", "more")), value=JSON)
@settings(max_examples=200, deadline=None)
def test_whatever_an_envelope_says_is_checked_without_a_stumble(place: str, value: object) -> None:
    envelope = json.loads(OURS.sign(RICH, SUBJECT, REVISION))
    (envelope if place in envelope else envelope["signatures"][0])[place] = value
    written = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()

    found = standing(with_stamp(encode(image()), RICH, values={SIGNED_STATEMENT: written}))

    assert found.word is not Word.VALID


def test_the_longest_stamp_can_be_signed_and_read() -> None:
    from orthanc_provenance.model import Axis, Evidence, Strength

    evidence = tuple(
        Evidence(f"{number:064d}", "", "", Axis.ORIGIN, "", Strength.TEXT) for number in range(300)
    )
    data = with_stamp(encode(image()), assessed(Origin.ACQUIRED, evidence=evidence))

    assert standing(data).word is Word.VALID


def test_no_statement_names_a_patient_or_an_object() -> None:
    dataset = image(PatientID="SECRETID", PatientName="SECRETNAME", AccessionNumber="SECRETNUMBER")
    statement = _statement_of(with_stamp(encode(dataset), RICH))

    assert b"SECRET" not in open_envelope(statement).payload
    assert b"1.2.3" not in open_envelope(statement).payload


def test_pixels_that_were_not_looked_at_make_no_stamp_valid() -> None:
    header = read_header(with_stamp(encode(image()), RICH))

    found = trusted().check(header, read_stamp(header), None)

    assert (found.word, found.altered) == (Word.UNTRUSTED, ())


def test_the_block_of_a_signed_stamp_holds_nothing_that_is_not_signed() -> None:
    # Whoever adds an element to the block has to add it to what is signed.
    written = set(block_values(RICH, REVISION, SUBJECT.digest))

    assert {STATE, EVIDENCE, PIXEL_DIGEST} <= written
    for element in written:
        data = with_stamp(encode(image()), RICH, values={element: b"X"})
        assert standing(data).word is Word.ALTERED, element.keyword
