"""Retrieving over DICOMweb in the form and transfer syntax that is asked for, and cleaning up afterwards."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pydicom
import pytest
from archive_fixture import DERIVED, INVISIBLE, ORIGINAL, PROTECTED, UNLABELLED, VISIBLE, Archive
from codec_fixture import Toolkit
from dicom_samples import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_2000, encode, image
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from test_wado import LEVELS, MULTIPART, SERIES, SOP, STUDY, split

from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.doors import rendered as pictures
from orthanc_provenance.doors.capabilities import RESOURCES
from orthanc_provenance.doors.sigmoid import windows
from orthanc_provenance.errors import Withdrawn
from orthanc_provenance.model import Assessment
from orthanc_provenance.stamp.block import read_stamp

OCTETS = 'multipart/related; type="application/octet-stream"'
BEHIND = ("", "/metadata", "/rendered", "/thumbnail", "/frames/1", "/bulkdata/7FE00010", "/frames/1/rendered")


@pytest.fixture
def coded(tmp_path: Path) -> Iterator[Archive]:
    """An empty archive that can transcode and render."""
    codec = Toolkit()
    with Archive(tmp_path, codec=codec) as made:
        codec.stored = made.stored.__getitem__
        yield made


def put(
    archive: Archive, dataset: Dataset, syntax: str = EXPLICIT, found: Assessment = ORIGINAL, number: int = 1
) -> str:
    """Store `dataset`; the path of its instance."""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.1"
    dataset.SOPInstanceUID = f"1.2.1.{number}"
    archive.put_bytes(encode(dataset, syntax), found)
    archive.flush()
    return f"/studies/1.2/series/1.2.1/instances/1.2.1.{number}"


def encapsulated(*frames: bytes, **values: object) -> Dataset:
    dataset = image(NumberOfFrames=len(frames), **values)
    del dataset.PixelData
    dataset.add_new(Tag(0x7FE00010), "OB", encapsulate(list(frames)))
    dataset["PixelData"].is_undefined_length = True
    return dataset


# -- transfer syntaxes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "stored", "given"),
    [
        ("", IMPLICIT, EXPLICIT),
        ("; transfer-syntax=*", IMPLICIT, IMPLICIT),
        (f"; transfer-syntax={IMPLICIT}", EXPLICIT, IMPLICIT),
        (f'; transfer-syntax="{IMPLICIT}"', EXPLICIT, IMPLICIT),
        (
            f"; transfer-syntax={JPEG_2000}; q=1, {MULTIPART}; transfer-syntax={EXPLICIT}; q=0.5",
            IMPLICIT,
            EXPLICIT,
        ),
        (f"; transfer-syntax={IMPLICIT}; q=0.9, {MULTIPART}; transfer-syntax={EXPLICIT}", IMPLICIT, EXPLICIT),
        (f"; transfer-syntax={IMPLICIT}, {MULTIPART}; transfer-syntax={EXPLICIT}", EXPLICIT, EXPLICIT),
        (f"; transfer-syntax={IMPLICIT}; q=0, {MULTIPART}; transfer-syntax=*; q=0.1", EXPLICIT, EXPLICIT),
    ],
)
def test_the_best_transfer_syntax_that_can_be_had_is_sent(
    coded: Archive, asked: str, stored: str, given: str
) -> None:
    path = put(coded, image(), stored)
    for where in (path, "/studies/1.2"):
        ((media_type, data),) = split(coded.get(where, Accept=MULTIPART + asked))
        assert media_type == f"application/dicom; transfer-syntax={given}"
        assert pydicom.dcmread(BytesIO(data)).file_meta.TransferSyntaxUID == given


def test_what_was_transcoded_carries_a_stamp_for_the_pixels_it_has(coded: Archive) -> None:
    path = put(coded, image(BitsAllocated=16, Columns=2), EXPLICIT)
    for syntax in (EXPLICIT, IMPLICIT):
        response = coded.get(path, Accept=f"application/dicom; transfer-syntax={syntax}")
        header = read_header(response.data)
        stamp = read_stamp(header)
        assert stamp is not None
        assert stamp.pixel_digest == pixel_digest(header)


def test_what_nobody_insists_on_comes_as_it_is_stored_where_it_cannot_be_transcoded(coded: Archive) -> None:
    path = put(coded, encapsulated(b"\xff\x4f\xff\x51"), JPEG_2000)
    ((media_type, _),) = split(coded.get(path, Accept=MULTIPART))
    assert media_type == f"application/dicom; transfer-syntax={JPEG_2000}"
    refused = coded.get(path, Accept=f"{MULTIPART}; transfer-syntax={EXPLICIT}")
    assert refused.status_code == 406
    assert JPEG_2000 in refused.get_json()["error"]


def test_a_syntax_that_not_all_can_have_is_refused_before_the_answer_begins(coded: Archive) -> None:
    put(coded, image(), EXPLICIT)
    put(coded, encapsulated(b"\xff\x4f\xff\x51"), JPEG_2000, number=2)
    assert coded.get("/studies/1.2", Accept=f"{MULTIPART}; transfer-syntax={IMPLICIT}").status_code == 406
    assert len(split(coded.get("/studies/1.2", Accept=MULTIPART))) == 2


def test_a_syntax_for_pixels_is_nothing_to_what_has_none(coded: Archive) -> None:
    dataset = image()
    del dataset.PixelData
    path = put(coded, dataset)
    ((media_type, _),) = split(coded.get(path, Accept=f"{MULTIPART}; transfer-syntax={JPEG_2000}"))
    assert media_type.endswith(EXPLICIT)


@pytest.mark.parametrize(
    ("asked", "one", "several"),
    [
        ("application/*", "application/dicom", "application/zip"),
        ("*/*", "multipart/related", "multipart/related"),
        ("multipart/*", "multipart/related", "multipart/related"),
        ("multipart/related;q=0, */*", "application/dicom", "application/zip"),
        ('multipart/related;type="application/dicom";q=0, */*', "application/dicom", "application/zip"),
        ("multipart/related;q=0, application/dicom;q=0, */*", "application/zip", "application/zip"),
        ("application/zip;q=0, application/*", "application/dicom", ""),
        ("application/*;q=0, multipart/*;q=0, */*", "", ""),
    ],
)
def test_a_range_of_media_types_is_one_that_is_served_and_not_refused(
    filled: Archive, asked: str, one: str, several: str
) -> None:
    for path, expected in ((LEVELS[2], one), (LEVELS[0], several)):
        response = filled.get(path, Accept=asked)
        if expected:
            assert response.content_type.partition(";")[0] == expected
        else:
            assert response.status_code == 406


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("image/jpeg;q=0, */*", "image/png"),
        ("image/jpeg;q=0, image/*", "image/png"),
        ("image/jpeg;q=0, image/png;q=0, */*", ""),
        ("image/*;q=0, */*", ""),
    ],
)
def test_a_picture_is_in_no_media_type_that_is_refused(coded: Archive, asked: str, given: str) -> None:
    response = coded.get(f"{put(coded, image())}/rendered", Accept=asked)
    assert response.status_code == (200 if given else 406)
    assert not given or response.content_type == given


# -- ZIP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LEVELS)
def test_a_zip_archive_holds_the_same_files(filled: Archive, path: str, tmp_path: Path) -> None:
    response = filled.get(path, Accept="application/zip")
    assert response.content_type == "application/zip"
    assert response.headers["Content-Disposition"].endswith('.zip"')
    with ZipFile(BytesIO(response.data)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    alone = {pydicom.dcmread(BytesIO(data)).SOPInstanceUID: data for _, data in split(filled.get(path))}
    assert {name.rpartition("/")[2] for name in files} == {f"{uid}.dcm" for uid in alone}
    assert sorted(files.values()) == sorted(alone.values())
    assert filled.get(path, Accept="application/zip").data == response.data


# -- frames and bulk data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN])
def test_native_frames_are_cut_out_of_the_pixels(coded: Archive, syntax: str) -> None:
    dataset = image(NumberOfFrames=4, Rows=2, Columns=2)
    path = put(coded, dataset, syntax)
    accept = f"{OCTETS}; transfer-syntax=*" if syntax == BIG_ENDIAN else OCTETS
    parts = split(coded.get(f"{path}/frames/4,1", Accept=accept))
    whole = coded.get(path, Accept="application/dicom; transfer-syntax=*")
    pixels = pydicom.dcmread(BytesIO(whole.data)).PixelData
    assert [data for _, data in parts] == [pixels[12:16], pixels[0:4]]
    single = coded.get(f"{path}/frames/2", Accept="application/octet-stream; transfer-syntax=*")
    assert single.data == pixels[4:8]


def test_single_bits_are_shifted_to_the_start_of_each_frame(coded: Archive) -> None:
    dataset = image(NumberOfFrames=3, Rows=3, Columns=1, BitsAllocated=1)
    dataset.PixelData = (0b101_110_011).to_bytes(2, "little")
    path = put(coded, dataset)
    parts = split(coded.get(f"{path}/frames/1,2,3", Accept=OCTETS))
    assert [data for _, data in parts] == [b"\x03", b"\x06", b"\x05"]


def test_compressed_frames_come_as_they_are_stored(coded: Archive) -> None:
    frames = (b"\xff\x4f\xff\x51one.", b"\xff\x4f\xff\x51two.")
    path = put(coded, encapsulated(*frames), JPEG_2000)
    for accept, media_type in (
        ("*/*", "image/jp2"),
        (f"{OCTETS}; transfer-syntax=*", "image/jp2"),
        ('multipart/related; type="image/jp2"', "image/jp2"),
        (f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}', "image/jp2"),
    ):
        parts = split(coded.get(f"{path}/frames/1,2", Accept=accept))
        assert parts == [(f"{media_type}; transfer-syntax={JPEG_2000}", frame) for frame in frames]
    assert split(coded.get(f"{path}/bulkdata/7FE00010", Accept="*/*")) == parts
    assert coded.get(f"{path}/frames/2", Accept="image/jp2").data == frames[1]
    assert coded.get(f"{path}/frames/2", Accept="image/jpeg").status_code == 406
    assert coded.get(f"{path}/frames/2", Accept=OCTETS).status_code == 406


@pytest.mark.parametrize(
    ("frames", "status"),
    [("0", 400), ("1,", 400), ("x", 400), ("-1", 400), ("1-2", 400), ("2", 404), ("999999999", 404)],
)
def test_frames_that_there_are_not_are_told(filled: Archive, frames: str, status: int) -> None:
    response = filled.get(f"{LEVELS[2]}/frames/{frames}")
    assert response.status_code == status
    assert "frame" in response.get_json()["error"]


def test_every_uri_of_bulk_data_in_the_metadata_resolves_at_the_same_root(coded: Archive) -> None:
    item = Dataset()
    item.add_new(0x00420011, "OB", bytes(range(256)) * 40)
    dataset = image(ReferencedImageSequence=[Dataset(), item])
    dataset.add_new(0x00281201, "OW", b"\x01\x02" * 3000)
    dataset.add_new(0x00420010, "ST", "short")
    for number, syntax in enumerate((EXPLICIT, IMPLICIT, BIG_ENDIAN), 1):
        path = put(coded, dataset, syntax, number=number)
        (found,) = coded.get(f"{path}/metadata").get_json(force=True)
        uris = {
            found["7FE00010"]["BulkDataURI"]: bytes(range(16)),
            found["00281201"]["BulkDataURI"]: b"\x01\x02" * 3000,
            found["00081140"]["Value"][1]["00420011"]["BulkDataURI"]: item[0x00420011].value,
        }
        for uri, value in uris.items():
            root, _, rest = uri.partition("/research/dicom-web")
            assert root == "http://localhost"
            assert rest.startswith(f"{path}/bulkdata/")
            alone = coded.get(rest, Accept="application/octet-stream")
            if syntax == BIG_ENDIAN:
                assert sorted(alone.data) == sorted(value)
            else:
                assert alone.data == value
            assert [data for _, data in split(coded.get(rest))] == [alone.data]


def test_what_lies_behind_the_pixels_is_text_where_it_is_text(coded: Archive) -> None:
    dataset = image(SpecificCharacterSet="ISO_IR 100")
    dataset.add_new(0x8E050010, "LO", "Maker \xc4")
    dataset.add_new(0x8E051001, "PN", "M\xfcller^A")
    dataset.add_new(0x8E051002, "DS", "1.5")
    dataset.add_new(0x8E051003, "OB", bytes(5000))
    path = put(coded, dataset)
    (found,) = coded.get(f"{path}/metadata").get_json(force=True)
    assert found["8E050010"] == {"vr": "LO", "Value": ["Maker \xc4"]}
    assert found["8E051001"] == {"vr": "PN", "Value": [{"Alphabetic": "M\xfcller^A"}]}
    assert found["8E051002"] == {"vr": "DS", "Value": [1.5]}
    assert set(found["8E051003"]) == set(found["7FE00010"]) == {"vr", "BulkDataURI"}
    ((_, data),) = split(coded.get(f"{path}/metadata", Accept="application/dicom+xml"))
    of_maker = [
        one for one in ElementTree.fromstring(data).iter() if one.get("privateCreator") == "Maker \xc4"
    ]
    assert [one.get("tag") for one in of_maker] == ["8E050001", "8E050002", "8E050003"]


@pytest.mark.parametrize(
    ("path", "status"), [("7FE00008", 404), ("00081140/1/00080018", 404), ("x", 400), ("0008/1", 400)]
)
def test_bulk_data_that_there_is_not_is_told(filled: Archive, path: str, status: int) -> None:
    assert filled.get(f"{LEVELS[2]}/bulkdata/{path}").status_code == status


def test_metadata_come_as_xml_too(filled: Archive) -> None:
    parts = split(
        filled.get(f"{LEVELS[0]}/metadata", Accept='multipart/related; type="application/dicom+xml"')
    )
    assert {media_type for media_type, _ in parts} == {"application/dicom+xml"}
    for _, data in parts:
        bulk = ElementTree.fromstring(data).findall(".//{*}BulkData")
        assert [one.attrib["uri"].rpartition("/")[2] for one in bulk] == ["7FE00010"]


# -- pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form"), [("", "JPEG"), ("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/*", "JPEG")]
)
@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"])
def test_a_picture_comes_as_asked_for(coded: Archive, what: str, accept: str, form: str) -> None:
    path = put(coded, image(Rows=40, Columns=80), found=PROTECTED)
    response = coded.get(f"{path}/{what}", Accept=accept)
    assert response.status_code == 200, response.text
    picture = Image.open(BytesIO(response.data))
    assert picture.format == form
    assert response.content_type == f"image/{form.lower()}"
    assert picture.size == ((80, 40) if "rendered" in what else (256, 128))
    assert "xmp" not in picture.info


@pytest.mark.parametrize(
    ("query", "size", "rendered"),
    [
        ({"viewport": "20,20"}, (20, 10), (1, None, 20)),
        ({"viewport": "20,20,0,0,40,40"}, (20, 20), (1, None, None)),
        ({"viewport": "20,20,,,-40,40"}, (20, 20), (1, None, None)),
        ({"window": "40,400,linear-exact"}, (80, 40), (1, (40.0, 400.0), None)),
        ({"window": "40,400,linear"}, (80, 40), (1, (39.5, 399.0), None)),
        ({"quality": "5"}, (80, 40), (1, None, None)),
        ({"viewport": "8192,1"}, (2, 1), (1, None, 2)),
        ({"viewport": "400,8192"}, (400, 200), (1, None, None)),
        # Enlarged it is here, and not without bounds.
        ({"viewport": "8192,8192"}, (5792, 2896), (1, None, None)),
        ({"viewport": "8192,8192,0,0,10,10"}, (4096, 4096), (1, None, None)),
    ],
)
def test_a_picture_is_rendered_as_asked_for(
    coded: Archive, query: dict[str, str], size: tuple[int, int], rendered: object
) -> None:
    path = put(coded, image(Rows=40, Columns=80))
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    response = coded.get(f"{path}/rendered?{asked}")
    assert Image.open(BytesIO(response.data)).size == size
    assert isinstance(coded.codec, Toolkit)
    assert coded.codec.rendered == [rendered]


def test_a_window_may_be_a_sigmoid(coded: Archive) -> None:
    path = put(coded, image(Rows=40, Columns=80))
    response = coded.get(f"{path}/rendered?window=40,400,sigmoid", Accept="image/png")
    assert Image.open(BytesIO(response.data)).size == (80, 40)
    assert isinstance(coded.codec, Toolkit)
    assert [window for _, window, _ in coded.codec.rendered] == windows(40, 400)


def test_a_frame_of_more_pixels_than_memory_has_room_for_is_not_rendered(coded: Archive) -> None:
    path = put(coded, image(Rows=65535, Columns=65535))
    assert coded.get(f"{path}/rendered").status_code == 406
    assert isinstance(coded.codec, Toolkit)
    assert coded.codec.rendered == []


def test_each_picture_is_made_when_the_one_before_it_is_sent(coded: Archive) -> None:
    path = put(coded, image(Rows=4, Columns=4, NumberOfFrames=3, PixelData=bytes(range(48))))
    assert isinstance(coded.codec, Toolkit)
    for what in (f"{path}/frames/1,2,3/rendered", "/studies/1.2/rendered"):
        coded.codec.rendered.clear()
        response = coded.client.get(
            f"/research/dicom-web{what}",
            environ_overrides={"REMOTE_USER": "researcher"},
            headers={"Accept": "image/png"},
            buffered=False,
        )
        assert next(iter(response.response))
        response.close()
        assert [frame for frame, _, _ in coded.codec.rendered] == [1]
        for number in (2, 3):
            put(coded, image(), number=number)


def test_only_some_pictures_are_made_at_once_and_others_are_told_to_come_again(
    coded: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "WAIT_SECONDS", 0.1)
    path = put(coded, image())
    assert isinstance(coded.codec, Toolkit)
    render, begun, go_on = coded.codec.render, threading.Semaphore(0), threading.Event()

    def wait(*given: Any) -> bytes:
        begun.release()
        assert go_on.wait(60)
        return render(*given)

    monkeypatch.setattr(coded.codec, "render", wait)
    with ThreadPoolExecutor(pictures.AT_ONCE) as clients:
        answers = [clients.submit(coded.get, f"{path}/rendered") for _ in range(pictures.AT_ONCE)]
        assert all(begun.acquire(timeout=60) for _ in answers)
        refused = coded.get(f"{path}/rendered")
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "try again" in refused.get_json()["error"]
    assert coded.get(f"{path}/rendered").status_code == 200


def test_a_picture_of_what_may_not_leave_any_more_breaks_the_answer_off(coded: Archive) -> None:
    path = put(coded, image(Rows=4, Columns=4, NumberOfFrames=3, PixelData=bytes(range(48))))
    response = coded.client.get(
        f"/research/dicom-web{path}/frames/1,2,3/rendered",
        environ_overrides={"REMOTE_USER": "researcher"},
        buffered=False,
    )
    parts = iter(response.response)
    assert next(parts)
    coded.put_bytes(next(iter(coded.stored.values())), UNLABELLED)
    coded.flush()
    with pytest.raises(Withdrawn):
        list(parts)


def test_each_frame_that_is_asked_for_is_rendered(coded: Archive) -> None:
    path = put(coded, image(Rows=4, Columns=4, NumberOfFrames=3, PixelData=bytes(range(48))))
    parts = split(coded.get(f"{path}/frames/3,1/rendered", Accept='multipart/related; type="image/png"'))
    assert [media_type for media_type, _ in parts] == ["image/png"] * 2
    assert isinstance(coded.codec, Toolkit)
    assert [frame for frame, _, _ in coded.codec.rendered] == [3, 1]
    assert coded.get(f"{path}/frames/4/rendered").status_code == 406


@pytest.mark.parametrize(
    "query",
    [
        *("viewport=0,10", "viewport=10", "viewport=9999,9999", "viewport=1,1,90,0,10,10", "quality=0"),
        *("quality=101", "window=1,2", "window=1,0,linear", "window=1,nan,linear", "window=1,2,bent"),
        *("annotation=patient", "window=1e3,2,linear"),
    ],
)
def test_what_a_picture_cannot_be_is_refused(coded: Archive, query: str) -> None:
    path = put(coded, image(Rows=40, Columns=80))
    response = coded.get(f"{path}/rendered?{query}")
    assert response.status_code == 400, response.text


def test_pictures_of_a_study_come_in_parts_without_what_has_none(coded: Archive) -> None:
    put(coded, image())
    put(coded, image(), number=2)
    blind = image()
    del blind.PixelData
    path = put(coded, blind, number=3)
    assert len(split(coded.get("/studies/1.2/rendered", Accept="image/png"))) == 2
    refused = coded.get(f"{path}/rendered")
    assert (refused.status_code, coded.get(f"{path}/thumbnail").status_code) == (406, 406)
    assert coded.get("/studies/1.2/thumbnail").status_code == 200


@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered"])
@pytest.mark.parametrize("accept", ["image/jpeg", "image/png"])
def test_a_picture_of_what_is_ai_derived_says_so(coded: Archive, what: str, accept: str) -> None:
    path = put(coded, image(Rows=200, Columns=200), found=DERIVED)
    picture = Image.open(BytesIO(coded.get(f"{path}/{what}", Accept=accept).data))
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in bytes(
        picture.info["xmp"] if isinstance(picture.info["xmp"], bytes) else picture.info["xmp"].encode()
    )
    red, green, blue = picture.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    assert red > 200 > 100 > blue
    assert green > 150


# -- WADO-URI and capabilities -----------------------------------------------------------------------------


def uri(**values: str) -> str:
    given = {"requestType": "WADO", "studyUID": STUDY, "seriesUID": SERIES, "objectUID": SOP, **values}
    return "&".join(f"{name}={value}" for name, value in given.items() if value)


@pytest.mark.parametrize("place", ["/wado", "", "/"])
def test_an_object_is_had_by_the_parameters_of_a_url(filled: Archive, place: str) -> None:
    response = filled.get(f"{place}?{uri(contentType='application/dicom')}")
    assert response.content_type == "application/dicom"
    assert pydicom.dcmread(BytesIO(response.data)).SOPInstanceUID == SOP


def test_a_picture_is_had_by_the_parameters_of_a_url(coded: Archive) -> None:
    put(coded, image(Rows=40, Columns=80, NumberOfFrames=1))
    named = {"studyUID": "1.2", "seriesUID": "1.2.1", "objectUID": "1.2.1.1"}
    for values, form, size in (
        ({}, "JPEG", (80, 40)),
        ({"contentType": "image/png", "rows": "20"}, "PNG", (40, 20)),
        ({"contentType": "image/png", "columns": "20"}, "PNG", (20, 10)),
        ({"region": "0,0,0.5,1", "windowCenter": "1", "windowWidth": "2"}, "JPEG", (40, 40)),
    ):
        picture = Image.open(BytesIO(coded.get(f"/wado?{uri(**named, **values)}").data))
        assert (picture.format, picture.size) == (form, size)
    assert isinstance(coded.codec, Toolkit)
    # The longer side of what is rendered, None for the size of the object.
    assert [side for _, _, side in coded.codec.rendered] == [None, 40, 20, None]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        *(({"requestType": "XERO"}, 400), ({"objectUID": ""}, 400), ({"objectUID": "x"}, 400)),
        *(({"objectUID": "9.9"}, 404), ({"studyUID": "1.2.2"}, 404), ({"contentType": "text/html"}, 406)),
        *(({"anonymize": "yes"}, 400), ({"foo": "1"}, 400), ({"windowCenter": "1"}, 400)),
        *(({"rows": "0"}, 400), ({"region": "0,0,2,2"}, 400)),
        ({"contentType": "application/dicom", "transferSyntax": JPEG_2000}, 406),
    ],
)
def test_a_url_that_cannot_be_answered_says_why(filled: Archive, values: dict[str, str], status: int) -> None:
    response = filled.get(f"/wado?{uri(**values)}")
    assert response.status_code == status
    assert response.get_json()["error"]


def test_the_root_tells_what_there_is(filled: Archive) -> None:
    as_json = filled.get("").get_json()
    wadl = ElementTree.fromstring(filled.get("/", Accept="application/vnd.sun.wadl+xml").data)
    paths = {resource["path"] for resource in as_json["resources"]}
    assert (
        paths
        == {one.attrib["path"] for one in wadl.findall(".//{*}resource")}
        == {one[0] for one in RESOURCES}
    )
    assert filled.get("", Accept="text/html").status_code == 406
    assert filled.get("", method="OPTIONS").get_json() == as_json
    values = {"study": STUDY, "series": SERIES, "instance": SOP, "frames": "1", "path": "7FE00010"}
    for path in paths - {"wado"}:
        response = filled.get(f"/{path.format(**values)}")
        # Nothing is rendered by this archive, but what is asked for exists.
        assert response.status_code == 200 or "no picture" in response.text, path


# -- what is hidden, and what is left behind ---------------------------------------------------------------


@pytest.mark.parametrize("suffix", BEHIND)
def test_nothing_behind_a_hidden_object_can_be_told_from_nothing(filled: Archive, suffix: str) -> None:
    never = filled.get(f"/studies/9.9/series/9.9.9/instances/9.9.9.9{suffix}")
    assert never.status_code == 404
    visible = {item["SeriesInstanceUID"] for item in VISIBLE}
    for item in INVISIBLE:
        study, series, sop = item["StudyInstanceUID"], item["SeriesInstanceUID"], item["SOPInstanceUID"]
        hidden = [filled.get(f"/studies/{study}/series/{series}/instances/{sop}{suffix}")]
        named = {"studyUID": study, "seriesUID": series, "objectUID": sop}
        hidden += [filled.get(f"/wado?{uri(**named)}")]
        if "frames" not in suffix and "bulkdata" not in suffix and series not in visible:
            hidden += [filled.get(f"/studies/{study}/series/{series}{suffix}")]
        for one in hidden:
            assert (one.status, one.data, list(one.headers)) == (
                never.status,
                never.data,
                list(never.headers),
            )


@pytest.mark.parametrize("accept", [MULTIPART, "application/zip"])
def test_a_download_that_is_given_up_leaves_nothing_behind(archive: Archive, accept: str) -> None:
    for number in range(40):
        archive.put("1.2", "1.2.1", f"1.2.1.{number}")
    archive.flush()
    before = set(threading.enumerate())
    response = archive.client.get(
        "/research/dicom-web/studies/1.2",
        headers={"Accept": accept},
        environ_overrides={"REMOTE_USER": "researcher"},
        buffered=False,
    )
    assert next(iter(response.response))
    response.close()
    del response
    assert set(threading.enumerate()) <= before


def test_no_answer_names_a_patient_where_it_refuses(filled: Archive) -> None:
    for path in (
        f"{LEVELS[2]}/frames/9",
        f"{LEVELS[2]}/rendered",
        f"{LEVELS[2]}/bulkdata/00100010/1/00100010",
    ):
        error = json.dumps(filled.get(path).get_json())
        assert "Doe" not in error
        assert "P1" not in error


# -- by which address --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ({}, "http://localhost/"),
        ({"Host": "pacs.example.org:8042"}, "http://pacs.example.org:8042/"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "a.example.org"}, "https://a.example.org/"),
        ({"Forwarded": 'for=192.0.2.1;proto=https;host="b.example.org:8443", for=192.0.2.2'}, "https://b"),
        ({"X_Forwarded_Host": "bad host/<", "X_Forwarded_Proto": "gopher"}, "http://localhost/"),
    ],
)
def test_urls_in_answers_are_those_by_which_the_client_came(
    filled: Archive, headers: dict[str, str], start: str
) -> None:
    (found,) = filled.get(f"/studies?StudyInstanceUID={STUDY}", **headers).get_json(force=True)
    (shown,) = filled.get(f"{LEVELS[2]}/metadata", **headers).get_json(force=True)
    assert found["00081190"]["Value"][0].startswith(start)
    assert shown["7FE00010"]["BulkDataURI"].startswith(start)
