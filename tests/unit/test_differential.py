"""A stamp adds what the conformance statement says, and changes nothing else: on every file there is.

Files are compared as pydicom cuts them, which knows nothing of the plugin's own reader and splice.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import pytest
from conformance_page import table
from dicom_samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    NATIVE,
    all_bundled_files,
    decode,
    encode,
    image,
    real_files,
)
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from signed_samples import OURS, REVISION, assessed, standing

from element_bytes import PRIVATE_GROUP, Cut, compared, cut, differences
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.errors import HeaderError, StampError
from orthanc_provenance.evidence.catalogue import load_catalogue
from orthanc_provenance.intake import Intake
from orthanc_provenance.model import Assessment, Modifier, Origin, Privacy, State
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.trust import Word

EVERY_STATE = {
    State.ORIGINAL: assessed(Origin.ACQUIRED),
    State.PRIVACY_PROTECTED: assessed(
        Origin.ACQUIRED, privacy=Privacy(True, True), modifiers=(Modifier.PHANTOM,)
    ),
    State.AI_DERIVED: assessed(Origin.AI_DERIVED, labelled=True),
    State.AI_GENERATED: assessed(Origin.AI_GENERATED),
    State.SIMULATED: assessed(Origin.SIMULATED, labelled=True),
    State.UNDETERMINED: assessed(Origin.UNDETERMINED, modifiers=(Modifier.CONFLICT,)),
    State.NON_IMAGE: assessed(Origin.NON_IMAGE),
}
JPEG_XL = "1.2.840.10008.1.2.4.110"
DEFLATED_AND_REFERENCED = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
PIXELS = 0x7FE00000

# The files that take no stamp, and why: each is kept as it came. Whoever adds one here must know the reason.
KEPT = {
    "syntax-1.2.840.10008.1.2.dcm": "no complete file meta",
    "rtstruct.dcm": "no complete file meta",
    "ExplVR_LitEndNoMeta.dcm": "no complete file meta",
    "syntax-1.2.840.10008.1.2.4.50.dcm": r"\(0008,0000\) does not say",
    "chrKoreanMulti.dcm": r"\(0008,0000\) does not say",
    "693_J2KI.dcm": r"\(0008,0000\) does not say",
    "winter.dcm": "repeat or descend",
    # The trailer of a gzip file follows, which would be lost, or not be true any more.
    "image_dfl.dcm": "bytes follow it",
    "MR_truncated.dcm": "cut off",
    "SC_rgb_jpeg.dcm": "no VRs",
    "DICOMDIR": "DICOMDIR",
    "DICOMDIR-bigEnd": "DICOMDIR",
    "DICOMDIR-empty.dcm": "DICOMDIR",
    "DICOMDIR-implicit": "DICOMDIR",
    "DICOMDIR-nooffset": "DICOMDIR",
    "DICOMDIR-nopatient": "DICOMDIR",
    "DICOMDIR-reordered": "DICOMDIR",
}
# Those that cannot be read at all.
UNREADABLE = {
    "rtplan_truncated.dcm": "cut off",
    "no_meta.dcm": "no DICOM object",
    "ExplVR_BigEndNoMeta.dcm": "cut off",
    "meta_missing_tsyntax.dcm": "no data element",
    "nested_priv_SQ.dcm": "no data element",
    "README": "no DICOM object",
}
FILES = real_files() + all_bundled_files()
STAMPED = [path for path in FILES if path.name not in KEPT.keys() | UNREADABLE.keys()]


def stamped(data: bytes, assessment: Assessment) -> bytes | None:
    return apply(read_header(data), assessment, REVISION, signer=OURS)


def pixels_of(found: Cut) -> bytes:
    """What stands from the first element of group 7FE0 on in a file, or all of it inflated."""
    return b"".join(raw for tag, raw in found.elements.items() if tag >= PIXELS)


def check(data: bytes, assessment: Assessment, old: Cut | None = None) -> bytes:
    """The object in `data` with its stamp, which is held against what it was before, `old`."""
    after = stamped(data, assessment)
    assert after is not None
    old, new = old or cut(data), cut(after)
    assert compared(new, old, synthetic=assessment.origin.is_synthetic) == []
    pixels = pixels_of(old)
    assert pixels_of(new) == pixels
    if old.dataset.file_meta.TransferSyntaxUID != DEFLATED:
        inserted = sum(map(len, new.elements.values())) - sum(map(len, old.elements.values()))
        assert len(after) == len(data) + inserted
        assert data.endswith(pixels)
        assert after.endswith(pixels)
    assert f"STATE:{assessment.state.value}" in new.dataset.ContributingEquipmentSequence[-1].SoftwareVersions
    assert standing(after).word is Word.VALID
    assert stamped(after, assessment) is None
    return after


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STAMPED, ids=lambda path: path.name)
def test_files_get_their_stamp_and_nothing_else_whatever_their_state(path: Path) -> None:
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = cut(data)
        for assessment in EVERY_STATE.values():
            check(data, assessment, old)


@pytest.mark.parametrize("path", [path for path in FILES if path.name in KEPT], ids=lambda path: path.name)
@pytest.mark.parametrize("assessment", EVERY_STATE.values(), ids=EVERY_STATE.keys())
def test_files_that_are_too_odd_are_kept_as_they_came_with_the_reason(
    path: Path, assessment: Assessment
) -> None:
    data = path.read_bytes()
    with pytest.raises(StampError, match=KEPT[path.name]):
        stamped(data, assessment)

    received = Intake(load_catalogue(), "All", OURS).receive(data)

    assert received.stamped is None
    assert not received.record.stamped
    assert received.record.assessment.reason.startswith("no stamp: ")


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name in UNREADABLE], ids=lambda path: path.name
)
def test_files_that_cannot_be_read_are_told_apart_from_objects(path: Path) -> None:
    with pytest.raises(HeaderError, match=UNREADABLE[path.name]):
        read_header(path.read_bytes())


def test_there_are_files_and_each_that_takes_no_stamp_is_one_of_them() -> None:
    bundled = {path.name for path in all_bundled_files()}
    of_folder = {name for name in KEPT if name.startswith("syntax-")}

    assert len(bundled) > 150
    assert (KEPT.keys() | UNREADABLE.keys()) - of_folder <= bundled


# --- every transfer syntax of the conformance statement ---------------------------------------------------


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """`dataset` in any transfer syntax, with pixels that no codec has seen."""
    if syntax in DEFLATED_AND_REFERENCED:
        # Their pixels lie elsewhere (PS3.5 annex A.7 and A.11); pydicom deflates neither.
        del dataset.PixelData
        dataset.PixelDataProviderURL = "https://example.org/pixels"
        meta, body = _parts(encode(dataset, EXPLICIT), EXPLICIT, syntax)
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = deflater.compress(body) + deflater.flush()
        return meta + deflated + b"\0" * (len(deflated) % 2)
    if syntax == JPEG_XL:
        # Younger than pydicom's dictionary.
        return b"".join(_parts(encoded(dataset, JPEG_2000), JPEG_2000, syntax))
    if UID(syntax).is_encapsulated:
        dataset.PixelData = encapsulate([b"first", b"second!"], has_bot=True)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.NumberOfFrames = 2
    return encode(dataset, syntax)


def _parts(data: bytes, written: str, syntax: str) -> tuple[bytes, bytes]:
    """File meta information, with another transfer syntax in the place of the one written, and the rest."""
    start = read_header(data).dataset_start
    meta = data[:start].replace(_transfer_syntax(written), _transfer_syntax(syntax))
    size = struct.unpack("<I", meta[140:144])[0] + len(meta) - start
    return meta[:140] + struct.pack("<I", size) + meta[144:], data[start:]


def _transfer_syntax(syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value


def test_the_statement_names_the_syntaxes_that_have_no_file() -> None:
    named = {row["UID"].strip("`") for row in table("transfer syntax", "UID")}

    assert named >= {*NATIVE, DEFLATED, *DEFLATED_AND_REFERENCED}
    assert sum(UID(syntax).is_encapsulated for syntax in named) > 40


@pytest.mark.parametrize(
    "syntax", [*(row["UID"].strip("`") for row in table("transfer syntax", "UID")), JPEG_XL]
)
def test_objects_in_every_transfer_syntax_of_the_statement_are_stamped(syntax: str) -> None:
    for assessment in EVERY_STATE.values():
        data = encoded(image(), syntax)
        after = (
            check_deflated(data, assessment) if syntax in DEFLATED_AND_REFERENCED else check(data, assessment)
        )
        assert read_header(after).transfer_syntax == syntax


def check_deflated(data: bytes, assessment: Assessment) -> bytes:
    """As `check`; the file is given to pydicom as the deflated syntax that it knows."""
    after = stamped(data, assessment)
    assert after is not None
    assert stamped(after, assessment) is None
    assert standing(after).word is Word.VALID
    known = [_known(one) for one in (after, data)]
    assert differences(known[0], known[1], synthetic=assessment.origin.is_synthetic) == []
    return after


def _known(data: bytes) -> bytes:
    meta, body = _parts(data, read_header(data).transfer_syntax, EXPLICIT)
    return meta + zlib.decompress(body, -zlib.MAX_WBITS)


# --- what else an object may be, and hold already ---------------------------------------------------------


def item(**attributes: object) -> Dataset:
    found = Dataset()
    for keyword, value in attributes.items():
        setattr(found, keyword, value)
    return found


def multi_frame() -> Dataset:
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames="2", Modality="CT")
    frame = item(FrameContentSequence=[item(StackID="1", InStackPositionNumber=1)])
    dataset.PerFrameFunctionalGroupsSequence = [frame, frame]
    dataset.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[item(SliceThickness="1")])]
    dataset.PixelData = bytes(32)
    return dataset


def segmentation() -> Dataset:
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", NumberOfFrames="1")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PatientName, dataset.PatientIdentityRemoved = "SEG^A", "NO"
    dataset.SegmentSequence = [item(SegmentNumber=1, SegmentLabel="x", SegmentAlgorithmType="AUTOMATIC")]
    dataset.BitsAllocated, dataset.PixelData = 1, b"\x05\xa0"
    return dataset


def report() -> Dataset:
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR", ValueType="CONTAINER")
    dataset.ContentSequence = [
        item(ValueType="TEXT", TextValue="\u0141\u00f3d\u017a", RelationshipType="CONTAINS")
    ]
    dataset.SpecificCharacterSet = "ISO_IR 101"
    del dataset.PixelData
    return dataset


def document() -> Dataset:
    dataset = image(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", MIMETypeOfEncapsulatedDocument="application/pdf"
    )
    dataset.EncapsulatedDocument = b"%PDF-1.4 "
    dataset.Modality = "DOC"
    del dataset.PixelData
    return dataset


def float_map() -> Dataset:
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.30", Modality="MR")
    del dataset.PixelData
    dataset.add_new(0x7FE00008, "OF", struct.pack("<4f", 1, 2, 3, 4))
    return dataset


def with_other_creators() -> Dataset:
    dataset = image()
    for block in (0x10, 0x11, 0x13):
        dataset.add_new((PRIVATE_GROUP, block), "LO", f"ACME {block}")
        dataset.add_new((PRIVATE_GROUP, block << 8 | 0x01), "UN", b"\xff\x01")
    dataset.add_new((PRIVATE_GROUP, 0x1242), "LO", "an orphan")
    dataset.add_new((0x0097, 0x10), "LO", "IMAGE PROVENANCE 1.0")
    return dataset


def with_earlier_sequences(*, undefined: bool) -> Dataset:
    dataset = with_other_creators()
    dataset.PrivateDataElementCharacteristicsSequence = [
        item(
            PrivateGroupReference=PRIVATE_GROUP,
            PrivateCreatorReference="ACME 16",
            BlockIdentifyingInformationStatus="UNSAFE",
        )
    ]
    dataset.ContributingEquipmentSequence = [
        item(Manufacturer="SCANNER", ContributionDescription="a"),
        item(Manufacturer="orthanc-provenance", SoftwareVersions=["0.0.1", "x", "STATE:simulated-not"]),
    ]
    dataset.OriginalAttributesSequence = [
        item(
            ModifyingSystem="PACS",
            ReasonForTheAttributeModification="COERCE",
            ModifiedAttributesSequence=[item(PatientID="OLD")],
        )
    ]
    for keyword in ("PrivateDataElementCharacteristicsSequence", "ContributingEquipmentSequence"):
        dataset[keyword].is_undefined_length = undefined
        for one in dataset[keyword].value:
            one.is_undefined_length_sequence_item = undefined
    return dataset


def with_nested_sequences_of_undefined_length() -> Dataset:
    inner = item(Manufacturer="DEEP")
    for _ in range(20):
        inner = item(ReferencedStudySequence=[inner])
        inner["ReferencedStudySequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
    return image(ReferencedStudySequence=[inner])


KINDS = {
    "multi-frame": multi_frame,
    "segmentation": segmentation,
    "report": report,
    "document": document,
    "float": float_map,
    "other-creators": with_other_creators,
    "earlier-sequences": lambda: with_earlier_sequences(undefined=False),
    "earlier-sequences-undefined": lambda: with_earlier_sequences(undefined=True),
    "nested": with_nested_sequences_of_undefined_length,
}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_gets_its_stamp_and_nothing_else(kind: str, syntax: str) -> None:
    data = encode(KINDS[kind](), syntax)
    for assessment in EVERY_STATE.values():
        check(data, assessment)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("undefined", [False, True])
def test_earlier_items_stand_before_ours_as_they_were(syntax: str, *, undefined: bool) -> None:
    before = decode(encode(with_earlier_sequences(undefined=undefined), syntax))
    after = decode(
        check(encode(with_earlier_sequences(undefined=undefined), syntax), EVERY_STATE[State.ORIGINAL])
    )

    for keyword in ("PrivateDataElementCharacteristicsSequence", "ContributingEquipmentSequence"):
        assert list(after[keyword].value)[:-1] == list(before[keyword].value)
    assert after.OriginalAttributesSequence == before.OriginalAttributesSequence
    creators = after.private_creators(PRIVATE_GROUP)
    assert creators == ["ACME 16", "ACME 17", "ACME 19", "IMAGE PROVENANCE 1.0"]
    # 12H has an element without a creator, which belongs to nobody.
    assert after[PRIVATE_GROUP, 0x14].value == "IMAGE PROVENANCE 1.0"


def test_a_segmentation_keeps_its_image_type_and_its_patient() -> None:
    for assessment in EVERY_STATE.values():
        after = decode(check(encode(segmentation()), assessment))

        assert after.ImageType == ["DERIVED", "PRIMARY"]
        assert after.group_dataset(0x0010) == segmentation().group_dataset(0x0010)
        assert after.group_dataset(0x0012) == segmentation().group_dataset(0x0012)
