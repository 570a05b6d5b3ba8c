from __future__ import annotations

import copy
import struct
import zlib

import pytest
from dicom_samples import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, NATIVE, decode, encode, image
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from orthanc_provenance.dicom.encode import (
    IMPLICIT_LITTLE_ENDIAN,
    NewElement,
    encode_element,
    encode_items,
)
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.scan import Encoding
from orthanc_provenance.dicom.splice import splice
from orthanc_provenance.errors import StampError

CES = 0x0018A001
SYNTHETIC_DATA = 0x0008001C
YES = {SYNTHETIC_DATA: NewElement(b"CS", b"YES")}
ITEM = ((0x00080070, NewElement(b"LO", b"GATEWAY")), (0x00080301, NewElement(b"US", 0x0099)))
NEW_ITEM = {CES: NewElement(b"SQ", (ITEM,))}


def pydicom_item() -> Dataset:
    item = Dataset()
    item.Manufacturer = "GATEWAY"
    item.PrivateGroupReference = 0x0099
    return item


def earlier_item() -> Dataset:
    item = Dataset()
    item.Manufacturer = "SCANNER"
    item.ContributionDescription = "before"
    return item


def with_equipment(*items: Dataset, undefined: bool = False) -> Dataset:
    dataset = image(ContributingEquipmentSequence=Sequence(items), ProtocolName="P")
    dataset["ContributingEquipmentSequence"].is_undefined_length = undefined
    for item in items:
        item.is_undefined_length_sequence_item = undefined
    return dataset


def inflated(data: bytes) -> bytes:
    header = read_header(data)
    return header.buffer


# --- what pydicom would have written -------------------------------------------------------------------

_ascii = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=20)
_VALUES = {
    "LO": _ascii,
    "CS": st.sampled_from(["YES", "NO", "ORIGINAL", ""]),
    "UI": st.sampled_from(["1.2.3", "1.2.34", ""]),
    "UC": _ascii,
    "UT": _ascii,
    "OB": st.binary(max_size=9),
    "UN": st.binary(max_size=9).map(lambda value: value * 2),  # pydicom does not pad UN
    "US": st.integers(0, 0xFFFF),
    "UL": st.integers(0, 0xFFFFFFFF),
}
_private_tags = st.builds(
    lambda group, number: (group << 16) | number,
    st.integers(0x0009, 0x7FDF).filter(lambda group: group % 2 == 1),
    st.integers(0x0010, 0xFFFF),
)
_values = st.sampled_from(sorted(_VALUES)).flatmap(lambda vr: st.tuples(st.just(vr), _VALUES[vr]))
_element_lists = st.dictionaries(_private_tags, _values, min_size=1, max_size=12)


def as_new(vr: str, value: object) -> NewElement:
    if isinstance(value, str):
        return NewElement(vr.encode(), value.encode("ascii"))
    assert isinstance(value, bytes | int)
    return NewElement(vr.encode(), value)


@settings(max_examples=150, deadline=None)
@given(_element_lists, _element_lists, st.sampled_from([*NATIVE, DEFLATED]))
def test_new_elements_give_the_bytes_that_pydicom_writes(
    old: dict[int, tuple[str, object]], new: dict[int, tuple[str, object]], syntax: str
) -> None:
    dataset = image()
    for tag, (vr, value) in old.items():
        dataset.add_new(tag, vr, value)
    before = encode(dataset, syntax)
    added = {tag: element for tag, element in new.items() if tag not in old}
    for tag, (vr, value) in added.items():
        dataset.add_new(tag, vr, value)

    spliced = splice(read_header(before), {tag: as_new(*element) for tag, element in added.items()})

    assert inflated(spliced) == inflated(encode(dataset, syntax))


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("earlier", [0, 1, 3])
def test_items_are_appended_behind_earlier_ones(syntax: str, undefined: bool, earlier: int) -> None:
    dataset = with_equipment(*(earlier_item() for _ in range(earlier)), undefined=undefined)
    before = encode(dataset, syntax)
    expected = copy.deepcopy(dataset)
    expected.ContributingEquipmentSequence.append(pydicom_item())

    spliced = splice(read_header(before), NEW_ITEM)

    assert inflated(spliced) == inflated(encode(expected, syntax))


@pytest.mark.parametrize("syntax", NATIVE)
def test_an_absent_sequence_is_made(syntax: str) -> None:
    dataset = image()
    before = encode(dataset, syntax)
    dataset.ContributingEquipmentSequence = [pydicom_item()]

    assert splice(read_header(before), NEW_ITEM) == encode(dataset, syntax)


@pytest.mark.parametrize("syntax", NATIVE)
def test_an_element_right_behind_a_grown_sequence_keeps_tag_order(syntax: str) -> None:
    dataset = with_equipment(earlier_item())
    before = encode(dataset, syntax)
    expected = copy.deepcopy(dataset)
    expected.ContributingEquipmentSequence.append(pydicom_item())
    expected.add_new(0x0018A003, "ST", "behind")

    spliced = splice(read_header(before), NEW_ITEM | {0x0018A003: NewElement(b"ST", b"behind")})

    assert spliced == encode(expected, syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("undefined", [False, True])
def test_items_of_a_sequence_stored_as_un_are_implicit_little_endian(syntax: str, undefined: bool) -> None:
    order = ">" if syntax == BIG_ENDIAN else "<"
    earlier = encode_items((((0x00080070, NewElement(b"LO", b"SCANNER")),),), IMPLICIT_LITTLE_ENDIAN)
    delimiter = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    length = 0xFFFFFFFF if undefined else len(earlier)
    stored = struct.pack(order + "HH2sHI", 0x0018, 0xA001, b"UN", 0, length)
    stored += earlier + (delimiter if undefined else b"")
    plain = encode(image(ProtocolName="P"), syntax)
    header = read_header(plain)
    at = header.elements[0x00280010].start
    before = plain[:at] + stored + plain[at:]

    spliced = read_header(splice(read_header(before), NEW_ITEM))

    assert [item.text(0x00080070) for item in spliced.items(CES)] == ["SCANNER", "GATEWAY"]
    assert spliced.elements[CES].vr == b"UN"
    assert spliced.text(0x00181030) == "P"
    new = encode_items((ITEM,), IMPLICIT_LITTLE_ENDIAN)
    assert len(spliced.buffer) == len(before) + len(new)
    assert spliced.buffer.endswith(plain[at:])
    if syntax == EXPLICIT:
        assert [item.Manufacturer for item in decode(spliced.buffer)[CES].value] == ["SCANNER", "GATEWAY"]


# --- lengths that count the new bytes -------------------------------------------------------------------


def with_length(data: bytes, tag: int, error: int = 0) -> bytes:
    """`data` with a UL element `tag` that counts its group (or, for (0008,0001), all that follows)."""
    header = read_header(data)
    group = tag >> 16
    inside = [e for t, e in header.elements.items() if t >> 16 == group and t > tag]
    at = inside[0].start
    counted = (len(data) if tag & 0xFFFF else inside[-1].end) - at
    order = "<" if header.encoding.little else ">"
    value = struct.pack(order + "I", counted + error)
    return data[:at] + encode_element(tag, b"UL", value, header.encoding) + data[at:]


@pytest.mark.parametrize("syntax", NATIVE)
def test_group_lengths_of_grown_groups_are_kept_right(syntax: str) -> None:
    plain = encode(with_equipment(earlier_item(), undefined=True), syntax)
    before = with_length(with_length(with_length(plain, 0x00180000), 0x00100000), 0x00080000)

    header = read_header(splice(read_header(before), YES | NEW_ITEM))

    for group in (0x0008, 0x0010, 0x0018):
        inside = [e for t, e in header.elements.items() if t >> 16 == group]
        assert header.integers(group << 16, 4) == (inside[-1].end - inside[0].end,)


def test_length_to_end_is_kept_right() -> None:
    before = with_length(encode(image()), 0x00080001)

    header = read_header(splice(read_header(before), YES))

    assert header.integers(0x00080001, 4) == (len(header.buffer) - header.elements[0x00080001].end,)


@pytest.mark.parametrize("tag", [0x00080000, 0x00080001])
def test_a_length_that_is_wrong_as_received_is_refused(tag: int) -> None:
    before = with_length(encode(image()), tag, error=2)

    with pytest.raises(StampError, match="does not say"):
        splice(read_header(before), YES)


def test_a_wrong_length_of_a_group_that_does_not_grow_is_left_alone() -> None:
    before = with_length(encode(image()), 0x00100000, error=2)

    header = read_header(splice(read_header(before), YES))

    assert header.raw(0x00100000) == read_header(before).raw(0x00100000)


# --- the deflated transfer syntax ------------------------------------------------------------------------


def test_deflating_again_is_deterministic_and_of_even_length() -> None:
    lengths = set()
    for size in range(24):
        before = encode(image(ImageComments="x7Qz_9"[: size % 7] * size), DEFLATED)
        spliced = splice(read_header(before), YES)
        body = read_header(before).dataset_start
        assert spliced == splice(read_header(before), YES)
        assert spliced[:body] == before[:body]
        assert decode(spliced).SyntheticData == "YES"
        lengths.add(len(spliced[body:]) % 2)
    assert lengths == {0}


@pytest.mark.parametrize("odd", ["unfinished", "followed"])
def test_a_deflated_stream_without_its_end_or_with_more_behind_it_is_left_as_it_came(odd: str) -> None:
    header = read_header(encode(image(), DEFLATED))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflater.compress(header.buffer[header.dataset_start :])
    stream += deflater.flush(zlib.Z_SYNC_FLUSH) if odd == "unfinished" else deflater.flush() + b"BEHIND"
    data = header.buffer[: header.dataset_start] + stream

    with pytest.raises(StampError, match="lacks its end, or bytes follow"):
        splice(read_header(data), {0x0008001C: NewElement(b"CS", b"YES")})


def test_a_cut_off_deflated_object_is_not_made_whole() -> None:
    dataset = image()
    dataset[0x7FE00010].value = bytes(50_000)
    whole = read_header(encode(dataset, DEFLATED))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    cut = deflater.compress(whole.buffer[whole.dataset_start : -10_000]) + deflater.flush()

    with pytest.raises(StampError, match="not whole"):
        splice(read_header(whole.buffer[: whole.dataset_start] + cut), YES)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", NATIVE)
def test_nothing_added_gives_the_same_bytes(syntax: str) -> None:
    before = encode(image(), syntax)

    assert splice(read_header(before), {}) == before


@pytest.mark.parametrize("repeated", [0x00080060, 0x00100020])
def test_tags_that_repeat_or_descend_are_refused(repeated: int) -> None:
    data = encode(image())
    element = read_header(data).elements[repeated]
    at = read_header(data).elements[0x00280010].start

    with pytest.raises(StampError, match="repeat or descend"):
        splice(read_header(data[:at] + data[element.start : element.end] + data[at:]), YES)


def test_an_object_without_file_meta_information_is_refused() -> None:
    data = encode(image())
    bare = data[read_header(data).dataset_start :]

    with pytest.raises(StampError, match="file meta"):
        splice(read_header(bare), YES)


@pytest.mark.parametrize("junk", [b"\0\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0"])
def test_bytes_that_are_no_element_before_the_pixels_are_refused(junk: bytes) -> None:
    dataset = image()
    del dataset[0x7FE00010]

    with pytest.raises(StampError, match="no data element"):
        splice(read_header(encode(dataset) + junk), YES)


def test_an_existing_value_is_never_replaced() -> None:
    header = read_header(encode(image()))

    with pytest.raises(StampError, match=r"\(0008,0060\)"):
        splice(header, {0x00080060: NewElement(b"CS", b"CT")})


def test_what_is_no_sequence_gets_no_items() -> None:
    for syntax in NATIVE:
        with pytest.raises(StampError, match=r"\(0008,0070\)"):
            splice(read_header(encode(image(), syntax)), {0x00080070: NewElement(b"SQ", (ITEM,))})


@pytest.mark.parametrize("tag", [0x00020016, 0x00090000, 0x00080001, 0x7FE00010, 0xFFFCFFFC])
def test_tags_outside_the_header_are_refused(tag: int) -> None:
    with pytest.raises(StampError, match="cannot be inserted"):
        splice(read_header(encode(image())), {tag: NewElement(b"OB", b"")})


@pytest.mark.parametrize(
    "value",
    [
        b"\xfe\xff\x00\xe0\x00\x00\x00\x00\x00\x00",
        b"\xfe\xff\x00\xe0\x10\x00\x00\x00\x00\x00",
        b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
        b"\x08\x00\x70\x00LO\x02\x00AB",
    ],
)
def test_a_malformed_sequence_is_refused(value: bytes) -> None:
    dataset = image(ProtocolName="P")
    data = encode(dataset)
    at = read_header(data).elements[0x00280010].start
    malformed = data[:at] + encode_element(CES, b"SQ", value, Encoding()) + data[at:]

    with pytest.raises(StampError, match=r"\(0018,A001\)"):
        splice(read_header(malformed), NEW_ITEM)


def test_an_unreadable_item_of_a_un_sequence_is_refused() -> None:
    explicit_inside = encode_items((ITEM,), Encoding())
    data = encode(image())
    at = read_header(data).elements[0x00280010].start
    stored = encode_element(CES, b"UN", explicit_inside, Encoding())

    with pytest.raises(StampError, match=r"\(0018,A001\)"):
        splice(read_header(data[:at] + stored + data[at:]), NEW_ITEM)


# --- encoding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "value", "padded"),
    [
        (b"UI", b"1.2", b"1.2\0"),
        (b"LO", b"abc", b"abc "),
        (b"UC", b"abc", b"abc "),
        (b"CS", b"YES", b"YES "),
        (b"OB", b"\1", b"\1\0"),
        (b"UN", b"\1", b"\1\0"),
        (b"LO", b"even", b"even"),
    ],
)
def test_values_are_padded_to_even_length_as_their_vr_wants(vr: bytes, value: bytes, padded: bytes) -> None:
    for encoding in (Encoding(), Encoding(little=False), IMPLICIT_LITTLE_ENDIAN):
        assert encode_element(0x00990010, vr, value, encoding).endswith(padded)


def test_an_odd_binary_value_is_refused() -> None:
    with pytest.raises(StampError, match="3 bytes is no US"):
        encode_element(0x00990010, b"US", b"abc", Encoding())


def test_a_value_too_long_for_a_two_byte_length_is_refused() -> None:
    longest = bytes(0xFFFE)
    assert len(encode_element(0x00990010, b"LO", longest, Encoding())) == 8 + 0xFFFE
    with pytest.raises(StampError, match="does not fit"):
        encode_element(0x00990010, b"LO", longest + b"xx", Encoding())
    assert read_header(encode(image(), IMPLICIT)).encoding == IMPLICIT_LITTLE_ENDIAN
    assert len(encode_element(0x00990010, b"LO", longest + b"xx", IMPLICIT_LITTLE_ENDIAN)) == 8 + 0x10000
