from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from dicom_samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    decode,
    encode,
    image,
)
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from orthanc_provenance import __version__
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.encode import encode_element
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.scan import Encoding
from orthanc_provenance.errors import StampError
from orthanc_provenance.model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, State, Strength
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import CREATOR, DICTIONARY, Stamp, read_stamp, read_stamps
from orthanc_provenance.stamp.elements import MANUFACTURER, MAX_ITEMS, MODEL_NAME, claims_unlabelled

REVISION = "2026.1"
CES, PDEC, SYNTHETIC_DATA = 0x0018A001, 0x00080300, 0x0008001C
MAC_PARAMETERS = 0x4FFE0001


def evidence(*markers: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(marker, "(0008,0008)", "x", Axis.ORIGIN, "acquired", Strength.CODED) for marker in markers
    )


GENERATED = Assessment(Origin.AI_GENERATED, evidence=evidence("m-1"))
ACQUIRED = Assessment(Origin.ACQUIRED, evidence=evidence("m-1", "m-2"))


def stamped(data: bytes, assessment: Assessment = ACQUIRED) -> bytes:
    out = apply(read_header(data), assessment, REVISION)
    assert out is not None
    return out


def stamp_of(data: bytes) -> Stamp:
    stamp = read_stamp(read_header(data))
    assert stamp is not None
    return stamp


# --- what is written --------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
def test_a_stamp_reads_back_as_what_was_assessed(syntax: str) -> None:
    assessment = Assessment(
        Origin.AI_DERIVED,
        Privacy(identity_removed=True, defaced=True),
        labelled=True,
        modifiers=(Modifier.CONVENTIONAL_DERIVATION, Modifier.CONFLICT),
        evidence=evidence("m-1", "m-2", "m-1"),
    )
    data = encode(image(), syntax)

    assert stamp_of(stamped(data, assessment)) == Stamp(
        state=State.AI_DERIVED,
        origin=Origin.AI_DERIVED,
        identity_removed=True,
        defaced=True,
        labelled=True,
        modifiers=(Modifier.CONVENTIONAL_DERIVATION, Modifier.CONFLICT),
        evidence=("m-1", "m-2"),
        catalogue_revision=REVISION,
        pixel_digest=pixel_digest(read_header(data)),
    )


@pytest.mark.parametrize(
    ("origin", "flags"), list(itertools.product(Origin, itertools.product([False, True], repeat=3)))
)
def test_every_assessment_reads_back(origin: Origin, flags: tuple[bool, bool, bool]) -> None:
    removed, defaced, labelled = flags
    assessment = Assessment(origin, Privacy(removed, defaced), labelled)

    stamp = stamp_of(stamped(encode(image()), assessment))

    assert (stamp.state, stamp.origin) == (assessment.state, origin)
    assert (stamp.identity_removed, stamp.defaced, stamp.labelled) == flags


@pytest.mark.parametrize("origin", Origin)
def test_synthetic_data_is_added_to_what_is_synthetic_and_to_nothing_else(origin: Origin) -> None:
    dataset = decode(stamped(encode(image()), Assessment(origin)))

    expected = "YES" if origin in (Origin.AI_GENERATED, Origin.SIMULATED) else None
    assert dataset.get("SyntheticData") == expected


@pytest.mark.parametrize("value", ["YES", "NO", ""])
def test_synthetic_data_that_is_there_is_left_as_it_is(value: str) -> None:
    dataset = decode(stamped(encode(image(SyntheticData=value)), GENERATED))

    assert dataset.SyntheticData == value


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_the_gateway_names_itself_as_modifying_equipment(syntax: str) -> None:
    (item,) = decode(stamped(encode(image(), syntax), GENERATED)).ContributingEquipmentSequence

    (purpose,) = item.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109103", "DCM")
    assert purpose.CodeMeaning == "Modifying Equipment"
    assert (item.Manufacturer, item.ManufacturerModelName) == (MANUFACTURER, MODEL_NAME)
    assert tuple(item.SoftwareVersions) == (__version__, REVISION, "STATE:ai-generated", "LABELLED:NO")


def test_only_artificial_content_without_a_label_is_said_to_have_none() -> None:
    labelled = decode(stamped(encode(image()), replace(GENERATED, labelled=True)))
    original = decode(stamped(encode(image())))

    for dataset in (labelled, original):
        assert "LABELLED:NO" not in dataset.ContributingEquipmentSequence[0].SoftwareVersions
        assert not claims_unlabelled(read_header(encode(dataset)))


def test_what_came_without_a_label_is_known_even_after_the_private_block_was_removed() -> None:
    dataset = decode(stamped(encode(image()), GENERATED))
    dataset.remove_private_tags()

    assert dataset.SyntheticData == "YES"
    assert claims_unlabelled(read_header(encode(dataset)))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_the_private_block_is_declared_safe(syntax: str) -> None:
    (item,) = decode(stamped(encode(image(), syntax))).PrivateDataElementCharacteristicsSequence

    assert item.PrivateGroupReference == 0x0099
    assert item.PrivateCreatorReference == CREATOR
    assert item.BlockIdentifyingInformationStatus == "SAFE"


def test_a_declaration_that_is_there_already_is_not_repeated() -> None:
    first = decode(stamped(encode(image())))
    first.remove_private_tags()

    again = decode(stamped(encode(first)))

    assert len(again.PrivateDataElementCharacteristicsSequence) == 1
    assert len(again.ContributingEquipmentSequence) == 1
    assert again[0x00990010].value == CREATOR


def test_an_equipment_item_of_another_state_is_kept_beside_the_new_one() -> None:
    first = decode(stamped(encode(image()), ACQUIRED))
    first.remove_private_tags()

    again = decode(stamped(encode(first), Assessment(Origin.ACQUIRED, Privacy(identity_removed=True))))

    states = [item.SoftwareVersions[-1] for item in again.ContributingEquipmentSequence]
    assert states == ["STATE:original", "STATE:privacy-protected"]


@pytest.mark.parametrize("undefined", [False, True])
def test_earlier_equipment_is_kept(undefined: bool) -> None:
    item = Dataset()
    item.Manufacturer = "SCANNER"
    before = image(ContributingEquipmentSequence=[item])
    before["ContributingEquipmentSequence"].is_undefined_length = undefined

    after = decode(stamped(encode(before)))

    assert [item.Manufacturer for item in after.ContributingEquipmentSequence] == ["SCANNER", MANUFACTURER]


def test_the_stamp_holds_nothing_of_the_patient_and_no_identifier() -> None:
    dataset = image(PatientID="SECRET-1", PatientName="SECRET^2", DeviceSerialNumber="SECRET-3")
    dataset.StudyInstanceUID = "1.99.1"
    data = encode(dataset)

    added = stamped(data, GENERATED)

    for value in (b"SECRET-1", b"SECRET^2", b"SECRET-3", b"1.99.1", b"1.2.3"):
        assert added.count(value) == data.count(value)


def test_a_stamp_depends_on_its_arguments_alone() -> None:
    for syntax in (*NATIVE, DEFLATED):
        data = encode(image(), syntax)
        assert stamped(data, GENERATED) == stamped(bytes(bytearray(data)), GENERATED)


def test_a_digest_that_is_known_is_not_computed_again() -> None:
    out = apply(read_header(encode(image())), ACQUIRED, REVISION, digest="sha256:known")

    assert out is not None
    assert stamp_of(out).pixel_digest == "sha256:known"


def test_an_object_without_pixels_is_stamped_without_digest() -> None:
    dataset = image()
    del dataset[0x7FE00010]
    data = stamped(encode(dataset), Assessment(Origin.NON_IMAGE))

    assert stamp_of(data).pixel_digest == ""
    assert stamp_of(data).state is State.NON_IMAGE
    assert 0x00991008 not in read_header(data)


def test_long_evidence_is_cut_to_256_markers() -> None:
    assessment = Assessment(Origin.ACQUIRED, evidence=evidence(*(f"{n:064d}" for n in range(2000))))

    markers = stamp_of(stamped(encode(image()), assessment)).evidence

    assert markers == tuple(f"{n:064d}" for n in range(256))


@pytest.mark.parametrize("revision", ["a\\b", "x" * 65, "zwölf", "a\nb"])
def test_a_text_that_does_not_fit_is_refused(revision: str) -> None:
    with pytest.raises(StampError, match="cannot be stamped"):
        apply(read_header(encode(image())), ACQUIRED, revision)


def test_the_dictionary_names_each_element_once() -> None:
    for column in ("number", "keyword", "name"):
        assert len({getattr(element, column) for element in DICTIONARY}) == len(DICTIONARY)
    for element in DICTIONARY:
        assert element.name.replace(" ", "") == element.keyword


# --- coexistence with other private creators --------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_the_first_free_block_beside_other_creators_is_taken(syntax: str) -> None:
    dataset = image()
    for block in (0x10, 0x11, 0x13):
        dataset.add_new((0x0099, block), "LO", f"ACME {block}")
        dataset.add_new((0x0099, block << 8 | 0x01), "LO", f"value {block}")

    data = stamped(encode(dataset, syntax))

    header = read_header(data)
    assert header.text(0x00990012) == CREATOR
    assert [header.text(0x00990000 | b << 8 | 1) for b in (0x10, 0x11, 0x13)] == [
        "value 16",
        "value 17",
        "value 19",
    ]
    assert stamp_of(data).state is State.ORIGINAL
    assert decode(data).private_block(0x0099, CREATOR)[0x01].value in ("original", b"original")


def test_a_block_of_elements_without_creator_is_not_adopted() -> None:
    dataset = image()
    dataset.add_new(0x00991042, "LO", "orphan")

    header = read_header(stamped(encode(dataset)))

    assert header.text(0x00990011) == CREATOR
    assert 0x00990010 not in header


def test_a_full_group_is_refused() -> None:
    dataset = image()
    for block in range(0x10, 0x100):
        dataset.add_new((0x0099, block), "LO", "ACME")

    with pytest.raises(StampError, match="no free private block"):
        stamped(encode(dataset))


def test_a_block_that_is_reserved_for_nothing_does_not_stand_above_a_stamp() -> None:
    dataset = image()
    dataset.add_new(0x009900FF, "LO", CREATOR)
    dataset.add_new(0x0099FF06, "LO", "no state")

    header = read_header(stamped(encode(dataset)))

    assert [stamp.block for stamp in read_stamps(header)] == [0x10]
    assert header.text(0x009900FF) == CREATOR
    assert apply(header, ACQUIRED, REVISION) is None


def test_a_stamp_above_which_there_is_no_place_is_named_with_what_to_do() -> None:
    dataset = image()
    dataset.add_new(0x009900FF, "LO", CREATOR)
    dataset.add_new(0x0099FF01, "LO", "original")

    with pytest.raises(StampError, match=r"no free private block .*block FFH; remove .* send the object"):
        stamped(encode(dataset))


# --- stamping twice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_stamping_twice_changes_nothing(origin: Origin, syntax: str) -> None:
    assessment = Assessment(origin, Privacy(defaced=True), modifiers=(Modifier.PHANTOM,))
    first = stamped(encode(image(), syntax), assessment)

    assert apply(read_header(first), assessment, REVISION) is None


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("gone", [(SYNTHETIC_DATA,), (CES,), (PDEC,), (SYNTHETIC_DATA, CES, PDEC)])
def test_what_a_stamp_has_lost_outside_its_block_is_added_again_and_nothing_else(
    syntax: str, gone: tuple[int, ...]
) -> None:
    whole = stamped(encode(image(), syntax), GENERATED)
    dataset = decode(whole)
    for tag in gone:
        del dataset[tag]
    data = encode(dataset, syntax)

    again = stamped(data, GENERATED)

    assert decode(again) == decode(whole)
    assert stamped(data, GENERATED) == again
    assert apply(read_header(again), GENERATED, REVISION) is None


def test_a_stamp_behind_more_items_than_are_looked_at_is_not_added_again() -> None:
    item = Dataset()
    item.Manufacturer = "SCANNER"
    first = stamped(encode(image(ContributingEquipmentSequence=[item] * MAX_ITEMS)), GENERATED)

    assert apply(read_header(first), GENERATED, REVISION) is None


def test_an_item_of_another_gateway_that_names_the_state_is_enough() -> None:
    first = read_header(stamped(encode(image()), GENERATED))

    assert apply(first, GENERATED, "of-another-gateway") is None


def test_an_item_is_added_again_where_another_state_is_named_or_the_missing_label_is_not() -> None:
    for words in (["STATE:original"], ["STATE:ai-generated"]):
        dataset = decode(stamped(encode(image()), GENERATED))
        dataset.ContributingEquipmentSequence[0].SoftwareVersions = ["1", "2", *words]

        items = decode(stamped(encode(dataset), GENERATED)).ContributingEquipmentSequence

        assert [list(item.SoftwareVersions)[2:] for item in items] == [
            words,
            ["STATE:ai-generated", "LABELLED:NO"],
        ]


def test_a_newer_catalogue_does_not_replace_a_stamp_that_says_the_same() -> None:
    first = stamped(encode(image()), ACQUIRED)

    assert apply(read_header(first), Assessment(Origin.ACQUIRED, evidence=evidence("m-3")), "2027.1") is None


def test_the_label_that_a_stamp_has_added_does_not_count_as_received() -> None:
    first = stamped(encode(image()), Assessment(Origin.AI_GENERATED, labelled=False))

    assert apply(read_header(first), Assessment(Origin.AI_GENERATED, labelled=True), REVISION) is None


@pytest.mark.parametrize(
    "other",
    [
        Assessment(Origin.SIMULATED, labelled=True),
        Assessment(Origin.AI_GENERATED, Privacy(identity_removed=True), labelled=True),
        Assessment(Origin.AI_GENERATED, Privacy(defaced=True), labelled=True),
        Assessment(Origin.AI_GENERATED, labelled=False),
    ],
)
def test_a_stamp_that_says_something_else_is_kept_below_the_new_one(other: Assessment) -> None:
    first = stamped(encode(image()), Assessment(Origin.AI_GENERATED, labelled=True))

    again = stamped(first, other)

    earlier, latest = read_stamps(read_header(again))
    assert earlier == read_stamp(read_header(first))
    assert (latest.state, latest.labelled) == (other.state, other.labelled)
    assert latest.block > earlier.block
    assert apply(read_header(again), other, REVISION) is None


def test_pixels_that_were_encoded_anew_get_a_stamp_of_their_own() -> None:
    first = decode(stamped(encode(image())))
    first.PixelData = bytes(16)

    again = read_header(stamped(encode(first)))

    earlier, latest = read_stamps(again)
    assert latest.pixel_digest == pixel_digest(again) != earlier.pixel_digest


def test_a_later_stamp_stands_above_the_earlier_one_even_where_a_lower_place_is_free() -> None:
    first = decode(stamped(encode(image())))
    for element in first.group_dataset(0x0099):
        del first[element.tag]
        moved = element.tag.element + 5 if element.tag.element < 0x100 else element.tag.element + 0x500
        first.add_new((0x0099 << 16) | moved, element.VR, element.value)

    again = stamped(encode(first), GENERATED)

    assert [stamp.block for stamp in read_stamps(read_header(again))] == [0x15, 0x16]


def test_what_any_stamp_says_of_labels_counts() -> None:
    first = stamped(encode(image()), Assessment(Origin.AI_GENERATED, labelled=False))

    again = stamped(first, Assessment(Origin.ACQUIRED))

    assert claims_unlabelled(read_header(again))


def test_a_broken_stamp_reads_as_empty_and_is_kept() -> None:
    dataset = image()
    dataset.add_new(0x00990010, "LO", CREATOR)
    for element in DICTIONARY:
        dataset.add_new(0x00991000 | element.number, "UN", b"\xff\x1b\\\xfe")
    header = read_header(encode(dataset))

    stamp = read_stamp(header)

    assert stamp is not None
    assert (stamp.state, stamp.origin, stamp.modifiers, stamp.labelled) == (None, None, (), False)
    again = read_header(stamped(header.buffer))
    assert read_stamps(again)[0] == stamp
    assert read_stamps(again)[1].origin is Origin.ACQUIRED


def test_a_stamp_whose_vrs_got_lost_is_still_read() -> None:
    first = decode(stamped(encode(image()), GENERATED))
    for tag in [element.tag for element in first.group_dataset(0x0099) if element.tag.element > 0xFF]:
        value = first[tag].value
        text = "\\".join(value) if not isinstance(value, str) else value
        first.add_new(tag, "UN", text.encode() + b" " * (len(text) % 2))
    header = read_header(encode(first))

    assert apply(header, GENERATED, REVISION) is None


def test_of_an_object_that_readers_read_differently_no_stamp_is_enough() -> None:
    data = stamped(encode(image()))
    place = read_header(data).elements[0x00991001].start
    twice = data[:place] + encode_element(0x00991001, b"LO", b"ai-generated", Encoding()) + data[place:]

    with pytest.raises(StampError):
        apply(read_header(twice), ACQUIRED, REVISION)


def test_an_object_without_stamp_has_none() -> None:
    assert read_stamp(read_header(encode(image()))) is None


def test_cut_off_pixels_are_refused() -> None:
    with pytest.raises(StampError, match="pixels"):
        apply(read_header(encode(image())[:-4]), ACQUIRED, REVISION)


# --- digital signatures -----------------------------------------------------------------------------------


def signed(*tags: int) -> Dataset:
    mac = Dataset()
    mac.MACIDNumber = 1
    mac.DataElementsSigned = [Tag(tag) for tag in tags] if tags else None
    item = Dataset()
    item.Manufacturer = "SCANNER"
    return image(ContributingEquipmentSequence=[item], MACParametersSequence=[mac])


@pytest.mark.parametrize("syntax", NATIVE)
def test_signed_elements_are_left_out_and_the_rest_is_written(syntax: str) -> None:
    data = encode(signed(0x00080060, CES), syntax)

    header = read_header(stamped(data, GENERATED))

    before = read_header(data)
    assert header.raw(CES) == before.raw(CES)
    assert header.raw(MAC_PARAMETERS) == before.raw(MAC_PARAMETERS)
    assert header.text(SYNTHETIC_DATA) == "YES"
    assert len(header.items(PDEC)) == 1
    assert stamp_of(header.buffer).state is State.AI_GENERATED
    assert apply(header, GENERATED, REVISION) is None


def test_signatures_over_other_elements_do_not_matter() -> None:
    header = read_header(stamped(encode(signed(0x00080060, 0x7FE00010)), GENERATED))

    assert len(header.items(CES)) == 2


def test_an_absent_element_that_is_signed_is_not_added() -> None:
    header = read_header(stamped(encode(signed(SYNTHETIC_DATA, PDEC, 0x00990010)), GENERATED))

    assert SYNTHETIC_DATA not in header
    assert PDEC not in header
    assert header.text(0x00990011) == CREATOR
    assert apply(header, GENERATED, REVISION) is None


def test_what_was_signed_since_a_stamp_lost_it_is_not_added_again() -> None:
    dataset = decode(stamped(encode(image()), GENERATED))
    del dataset.ContributingEquipmentSequence
    mac = Dataset()
    mac.MACIDNumber, mac.DataElementsSigned = 1, [Tag(CES)]
    dataset.MACParametersSequence = [mac]

    assert apply(read_header(encode(dataset)), GENERATED, REVISION) is None


def test_an_object_whose_signatures_cannot_be_told_is_refused() -> None:
    with pytest.raises(StampError, match="signed"):
        stamped(encode(signed()))
    empty = image(MACParametersSequence=[])
    with pytest.raises(StampError, match="signed"):
        stamped(encode(empty))
