"""What the research root sends is what Orthanc's own root sends, stamp aside, and it ends well."""

from __future__ import annotations

import base64
import io
import re
import socket
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from door import made, opened, retrieved, store, store_visible
from PIL import Image as Picture
from pydicom import Dataset, dcmread
from support import RESEARCH, Image, new_uid, parts, research, settled_visible, until

from element_bytes import CONTRIBUTING_EQUIPMENT, PRIVATE_CHARACTERISTICS, PRIVATE_GROUP, SYNTHETIC_DATA, cut
from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED)
OPEN = {"Provenance": {"Routes": {"research": {"AllowUndetermined": True}}}}


@dataclass(frozen=True)
class File:
    """A released instance: its path below a root, and the transfer syntax that it is stored in."""

    path: str
    syntax: str


@pytest.fixture(scope="module")
def server(server_factory: ServerFactory) -> Iterator[Server]:
    with server_factory(config=OPEN) as started:
        yield opened(started)


@pytest.fixture(scope="module")
def files(server: Server, shared_data: Path) -> list[File]:
    """All that research sees of the real files."""
    for path in sorted((shared_data / "real").rglob("*.dcm")):
        requests.post(f"{server.url}/instances", data=path.read_bytes(), auth=server.admin, timeout=60)
    found = []
    paths = Counter(path_of(item) for item in settled_visible(server))
    # Two of the files are of two patients and share their UIDs: Orthanc's own root sends neither.
    for path in (path for path, count in paths.items() if count == 1):
        answer = research(server, path, accept="application/dicom; transfer-syntax=*")
        found.append(File(path, answer.headers["Content-Type"].partition("transfer-syntax=")[2]))
    assert len(found) > 60
    return found


def path_of(item: dict[str, Any]) -> str:
    """The path of an instance that a search has found."""
    study, series, sop = (item[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"/studies/{study}/series/{series}/instances/{sop}"


def both(server: Server, path: str, accept: str) -> tuple[requests.Response, requests.Response]:
    """The answers of the research root and of Orthanc's own."""
    ours = requests.get(
        f"{server.url}{RESEARCH}{path}", headers={"Accept": accept}, auth=server.researcher, timeout=60
    )
    theirs = requests.get(
        f"{server.url}/dicom-web{path}", headers={"Accept": accept}, auth=server.admin, timeout=60
    )
    return ours, theirs


def without_stamp(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The file meta information, and the elements that no stamp adds to."""
    found = cut(data)
    stamp = (SYNTHETIC_DATA, PRIVATE_CHARACTERISTICS, CONTRIBUTING_EQUIPMENT)
    rest = {
        tag: value
        for tag, value in found.elements.items()
        if tag not in stamp and tag >> 16 != PRIVATE_GROUP and tag & 0xFFFF
    }
    return found.head, rest


# -- the same bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", ["*", "", *NATIVE], ids=["as stored", "default", *NATIVE])
def test_a_file_leaves_as_from_orthancs_own_root(server: Server, files: list[File], syntax: str) -> None:
    asked = f"; transfer-syntax={syntax}" if syntax else ""
    compared = 0
    # Deflating takes its time: some will do.
    chosen = files[::4] if syntax == DEFLATED else files
    for file in chosen:
        # Asked to transcode JPEG 2000, Orthanc's own root ends the server.
        if syntax != "*" and file.syntax in JPEG_2000:
            continue
        ours, theirs = both(server, file.path, f'multipart/related; type="application/dicom"{asked}')
        assert (ours.status_code, theirs.status_code) == (200, 200), file
        (left,), (own,) = parts(ours), parts(theirs)
        # What was stamped as it was stored is the very same.
        if left != own:
            (head, elements), (own_head, own_elements) = without_stamp(left), without_stamp(own)
            assert elements == own_elements, file
            # Into some files Orthanc writes another Media Storage SOP Instance UID each time.
            again = both(server, file.path, f'multipart/related; type="application/dicom"{asked}')[1]
            assert head == own_head or parts(again) != [own], file
        compared += 1
    assert compared > len(chosen) * (0.99 if syntax == "*" else 0.5)


@pytest.mark.parametrize("accept", ["", "; transfer-syntax=*"], ids=["default", "as stored"])
def test_frames_leave_as_from_orthancs_own_root(server: Server, files: list[File], accept: str) -> None:
    compared = 0
    for file in files:
        if not accept and file.syntax not in NATIVE:
            continue
        ours, theirs = both(
            server, f"{file.path}/frames/1", f'multipart/related; type="application/octet-stream"{accept}'
        )
        if 404 in (ours.status_code, theirs.status_code) or theirs.status_code == 400:
            # It has no pixels, of which Orthanc's own root sends none too, or fewer than its header says.
            continue
        assert ours.status_code == 200, file
        assert parts(ours) == parts(theirs), file
        compared += 1
    assert compared > (50 if accept else 15)


def test_compressed_files_leave_decompressed(server: Server, files: list[File]) -> None:
    for file in files:
        if file.syntax not in (*NATIVE, *JPEG_2000):
            answer = research(server, file.path, accept=f"application/dicom; transfer-syntax={EXPLICIT}")
            assert answer.status_code == 200, answer.text
            assert dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == EXPLICIT


def test_what_cannot_be_transcoded_is_refused_by_name_or_comes_as_it_is(
    server: Server, files: list[File]
) -> None:
    for file in files:
        if file.syntax in JPEG_2000:
            refused = research(server, file.path, accept=f"application/dicom; transfer-syntax={EXPLICIT}")
            assert refused.status_code == 406
            assert file.syntax in refused.json()["error"]
            whatever = research(server, file.path, accept="application/dicom")
            assert whatever.headers["Content-Type"].endswith(file.syntax)


def test_metadata_name_bulk_data_that_is_there(server: Server, files: list[File]) -> None:
    for file in files:
        (item,) = research(server, f"{file.path}/metadata", accept="application/dicom+json").json()
        assert Dataset.from_json(item, lambda _uri: b"").SOPInstanceUID == file.path.rpartition("/")[2]
        for uri in {value["BulkDataURI"] for value in item.values() if "BulkDataURI" in value}:
            assert uri.startswith(f"{server.url}{RESEARCH}{file.path}/bulkdata/")
            answer = requests.get(uri, auth=server.researcher, timeout=60)
            assert answer.status_code == 200, answer.text
            assert sum(map(len, parts(answer)))


def test_a_study_comes_as_a_zip_archive_of_its_files(server: Server) -> None:
    study = new_uid()
    images = [made(study), made(study, name="MR_small.dcm")]
    store_visible(server, *images)
    answer = research(server, f"/studies/{study}", accept="application/zip; transfer-syntax=*")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {f"{image.series}/{image.sop}.dcm": retrieved(server, image) for image in images}


# -- pictures ----------------------------------------------------------------------------------------------


def derived(**attributes: Any) -> Image:
    """An image that an AI made of another one, and that says so."""
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", new_uid()
    return made(SyntheticData="YES", SourceImageSequence=[source], **attributes)


@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered"])
@pytest.mark.parametrize("accept", ["image/jpeg", "image/png"])
def test_a_picture_says_what_it_is_and_one_of_an_acquisition_says_nothing(
    server: Server, what: str, accept: str
) -> None:
    images = {"original": made(), "ai-derived": derived()}
    store_visible(server, *images.values())
    found = {}
    for name, image in images.items():
        path = f"/studies/{image.study}/series/{image.series}/instances/{image.sop}/{what}"
        answer = research(server, path, accept=accept)
        assert answer.headers["Content-Type"] == accept
        found[name] = Picture.open(io.BytesIO(answer.content))
    assert "xmp" not in found["original"].info
    assert found["original"].mode == "L"
    xmp = found["ai-derived"].info["xmp"]
    text = xmp.decode() if isinstance(xmp, bytes) else xmp
    assert "digitalsourcetype/compositeWithTrainedAlgorithmicMedia<" in text
    assert found["ai-derived"].mode == "RGB"
    # The DICOM pixels say nothing.
    pixels = dcmread(io.BytesIO(retrieved(server, images["ai-derived"]))).PixelData
    assert pixels == dcmread(io.BytesIO(images["ai-derived"].data)).PixelData


# -- how it ends -------------------------------------------------------------------------------------------


def test_a_download_that_is_given_up_leaves_no_thread_and_the_next_is_whole(server: Server) -> None:
    study, series = new_uid(), new_uid()
    images = [made(study, series, Rows=512, Columns=512, PixelData=bytes(524288)) for _ in range(40)]
    store_visible(server, *images)
    research(server, f"/studies/{study}").raise_for_status()
    before = threads(server)
    credentials = base64.b64encode(":".join(server.researcher).encode()).decode()
    for _ in range(5):
        with socket.create_connection((server.host, server.http_port)) as connection:
            connection.sendall(
                f"GET {RESEARCH}/studies/{study} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Basic {credentials}\r\n\r\n".encode()
            )
            assert b"200" in connection.recv(100)
    until(lambda: threads(server) <= before, "the threads of the downloads have ended")
    assert len(parts(research(server, f"/studies/{study}"))) == 40


def threads(server: Server) -> int:
    """The threads of Orthanc's process."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.findall(r"Threads:\s+(\d+)", status)[0])


def test_a_server_whose_gdcm_comes_first_transcodes_nothing_and_lives(
    server_factory: ServerFactory, shared_data: Path
) -> None:
    name = "sc-clunie-overlays.dcm"
    data = (shared_data / "real" / name).read_bytes()
    with server_factory(config={"BuiltinDecoderTranscoderOrder": "After", **OPEN}) as server:
        opened(server)
        dataset = dcmread(io.BytesIO(data), stop_before_pixels=True)
        uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
        image = Image(data, *map(str, uids))
        store(server, image)
        until(lambda: retrieved(server, image), "research sees the image")
        path = f"/studies/{image.study}/series/{image.series}/instances/{image.sop}"
        loaded = requests.get(f"{server.url}/plugins", auth=server.admin, timeout=60).json()
        answer = research(server, path, accept=f"application/dicom; transfer-syntax={IMPLICIT}")
        assert answer.status_code == (406 if "gdcm" in loaded else 200)
        assert retrieved(server, image)
