"""The clients that researchers use, as they come, against the research root."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import pyorthanc
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from door import client, made, opened, packed, store_visible, unlabelled, verdict
from pair import image as dataset_of
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from support import RESEARCH, Image, new_uid, parts, post

from element_bytes import CREATOR, PRIVATE_GROUP
from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

JPEG, EXPLICIT = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1"
PNG = b"\x89PNG\r\n"
UIDS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}


@dataclass(frozen=True)
class Site:
    """A server with a CT study of two series with three images, an ultrasound clip of 30 JPEG frames, and a
    study that may not leave."""

    server: Server
    ct: tuple[Image, ...]
    clip: Image
    hidden: Image

    @property
    def first(self) -> tuple[str, str, str]:
        """The UIDs of the first CT image."""
        return self.ct[0].study, self.ct[0].series, self.ct[0].sop

    @property
    def root(self) -> str:
        """The URL of the research root."""
        return f"{self.server.url}{RESEARCH}"

    def series(self, series: str) -> set[str]:
        """The SOP Instance UIDs of one series of the CT study."""
        return {image.sop for image in self.ct if image.series == series}


@pytest.fixture(scope="module")
def site(server_factory: ServerFactory) -> Iterator[Site]:
    with server_factory() as server:
        opened(server)
        study, series = new_uid(), new_uid()
        named = {"ProtocolName": "Head", "Manufacturer": "Maker"}
        ct = (made(study, series, **named), made(study, series, **named), made(study))
        uids = {"SeriesInstanceUID": new_uid(), "StudyInstanceUID": new_uid(), "SOPInstanceUID": new_uid()}
        dataset = dataset_of("examples_ybr_color.dcm", new_uid(), **uids)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        clip, hidden = packed(dataset), unlabelled()
        assert post(server, hidden).ok
        store_visible(server, *ct, clip)
        assert verdict(server, hidden) == "block"
        yield Site(server, ct, clip, hidden)


@pytest.fixture
def web(site: Site) -> DICOMwebClient:
    return client(site.server)


def found(items: list[dict[str, Any]], level: str) -> list[str]:
    return [item[UIDS[level]]["Value"][0] for item in items]


def check_objects(datasets: list[Dataset], images: tuple[Image, ...]) -> None:
    """These datasets are these images: with their pixels, and a stamp."""
    by_sop = {image.sop: dcmread(io.BytesIO(image.data)) for image in images}
    assert sorted(str(dataset.SOPInstanceUID) for dataset in datasets) == sorted(by_sop)
    for dataset in datasets:
        assert CREATOR in dataset.private_creators(PRIVATE_GROUP)
        assert dataset.PixelData == by_sop[dataset.SOPInstanceUID].PixelData


# -- dicomweb-client: search -------------------------------------------------------------------------------


def test_dicomweb_client_searches_at_every_level(web: DICOMwebClient, site: Site) -> None:
    study, series, _ = site.first
    every = {image.sop for image in site.ct}

    assert sorted(found(web.search_for_studies(), "studies")) == sorted((study, site.clip.study))
    assert set(found(web.search_for_series(study), "series")) == {image.series for image in site.ct}
    assert set(found(web.search_for_instances(study), "instances")) == every
    assert set(found(web.search_for_instances(study, series), "instances")) == site.series(series)
    assert set(found(web.search_for_series(), "series")) >= {site.clip.series, series}
    assert set(found(web.search_for_instances(), "instances")) == every | {site.clip.sop}


def test_dicomweb_client_searches_with_all_it_can_ask_for(web: DICOMwebClient, site: Site) -> None:
    study, series, _ = site.first
    name = dcmread(io.BytesIO(site.ct[0].data)).PatientName
    by_name = {"PatientName": f"{str(name)[:-2]}*"}

    assert found(web.search_for_studies(search_filters=by_name, fuzzymatching=True), "studies") == [study]
    (shown,) = web.search_for_studies(
        search_filters={"StudyInstanceUID": study}, fields=["StudyDescription", "00100040"]
    )
    assert Dataset.from_json(shown).PatientSex == dcmread(io.BytesIO(site.ct[0].data)).PatientSex
    # This client repeats `includefield` for each.
    (shown,) = web.search_for_series(
        study, search_filters={"SeriesInstanceUID": series}, fields=["Manufacturer", "ProtocolName"]
    )
    read = Dataset.from_json(shown)
    assert (read.Manufacturer, read.ProtocolName) == ("Maker", "Head")
    pages = [web.search_for_instances(study, limit=2, offset=offset) for offset in (0, 2)]
    assert [len(page) for page in pages] == [2, 1]
    assert {uid for page in pages for uid in found(page, "instances")} == {image.sop for image in site.ct}
    # One request after the other, until there is no more.
    assert len(web.search_for_instances(limit=1, get_remaining=True)) == 4
    assert len(web.search_for_series(limit=2, get_remaining=True)) == 3
    assert len(web.search_for_studies(limit=1, get_remaining=True)) == 2


def test_dicomweb_client_searches_by_provenance(web: DICOMwebClient, site: Site) -> None:
    study, _, _ = site.first
    for filters, expected in (
        ({"SyntheticData": "NO", "ProvenanceState": "original"}, 2),
        ({"SyntheticData": "YES"}, 0),
        ({"ProvenanceOrigin": "acquired"}, 2),
        ({"IdentityRemoved": "YES"}, 0),
    ):
        assert len(web.search_for_studies(search_filters=filters)) == expected
    (shown,) = web.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert Dataset.from_json(shown).SyntheticData == "NO"


# -- dicomweb-client: retrieve -----------------------------------------------------------------------------

OBJECTS = (None, (("application/dicom", "*"),), (("application/dicom", EXPLICIT),))


@pytest.mark.parametrize("media_types", OBJECTS)
def test_dicomweb_client_retrieves_objects(media_types: Any, web: DICOMwebClient, site: Site) -> None:
    study, series, sop = site.first
    of_series = tuple(image for image in site.ct if image.series == series)
    options = {} if media_types is None else {"media_types": media_types}

    check_objects(web.retrieve_study(study, **options), site.ct)
    check_objects(list(web.iter_study(study, **options)), site.ct)
    check_objects(web.retrieve_series(study, series, **options), of_series)
    check_objects(list(web.iter_series(study, series, **options)), of_series)
    check_objects([web.retrieve_instance(study, series, sop, **options)], site.ct[:1])


def test_dicomweb_client_retrieves_compressed_objects(web: DICOMwebClient, site: Site) -> None:
    clip = site.clip
    for media_types in ((("application/dicom", "*"),), (("application/dicom", JPEG),)):
        dataset = web.retrieve_instance(clip.study, clip.series, clip.sop, media_types=media_types)
        assert dataset.file_meta.TransferSyntaxUID == JPEG
        check_objects([dataset], (clip,))


def test_dicomweb_client_retrieves_metadata(web: DICOMwebClient, site: Site) -> None:
    study, series, sop = site.first

    assert set(found(web.retrieve_study_metadata(study), "instances")) == {image.sop for image in site.ct}
    assert set(found(web.retrieve_series_metadata(study, series), "instances")) == site.series(series)
    read = Dataset.from_json(
        web.retrieve_instance_metadata(study, series, sop), bulk_data_uri_handler=lambda _uri: b""
    )
    assert (read.SOPInstanceUID, read.Rows) == (sop, 128)


def test_dicomweb_client_retrieves_frames(web: DICOMwebClient, site: Site) -> None:
    pixels = dcmread(io.BytesIO(site.ct[0].data)).PixelData

    assert web.retrieve_instance_frames(*site.first, [1]) == [pixels]
    raw = (("application/octet-stream", EXPLICIT),)
    assert list(web.iter_instance_frames(*site.first, [1], media_types=raw)) == [pixels]


def test_dicomweb_client_retrieves_compressed_frames(web: DICOMwebClient, site: Site) -> None:
    clip = (site.clip.study, site.clip.series, site.clip.sop)
    dataset = dcmread(io.BytesIO(site.clip.data))
    stored = list(generate_frames(dataset.PixelData, number_of_frames=30))
    jpeg = (("image/jpeg", JPEG),)

    received = web.retrieve_instance_frames(*clip, [1, 30, 2], media_types=jpeg)
    assert [one.rstrip(b"\0") for one in received] == [stored[at].rstrip(b"\0") for at in (0, 29, 1)]
    assert len(list(web.iter_instance_frames(*clip, [3, 4], media_types=jpeg))) == 2
    with pytest.raises(requests.HTTPError) as refused:
        web.retrieve_instance_frames(*clip, [31], media_types=jpeg)
    assert refused.value.response.status_code == 404


def test_dicomweb_client_retrieves_pictures(web: DICOMwebClient, site: Site) -> None:
    study, series, _ = site.first
    clip = (site.clip.study, site.clip.series, site.clip.sop)

    for media_type, start in (("image/png", PNG), ("image/jpeg", b"\xff\xd8\xff")):
        options = {"media_types": (media_type,)}
        assert web.retrieve_instance_rendered(*site.first, **options).startswith(start)
        assert web.retrieve_instance_frames_rendered(*clip, [2], **options).startswith(start)
    assert web.retrieve_instance_rendered(*site.first)
    assert web.retrieve_series_rendered(study, series)


def test_dicomweb_client_retrieves_bulkdata(web: DICOMwebClient, site: Site) -> None:
    pixels = dcmread(io.BytesIO(site.ct[0].data)).PixelData
    uri = web.retrieve_instance_metadata(*site.first)["7FE00010"]["BulkDataURI"]
    # This client sends a Host header without the port, by which no server can tell its own address.
    url = f"{site.server.url}{urlsplit(uri).path}"

    assert web.retrieve_bulkdata(url) == [pixels]
    assert list(web.iter_bulkdata(url)) == [pixels]


def test_dicomweb_client_finds_nothing_of_what_may_not_leave(web: DICOMwebClient, site: Site) -> None:
    study, series, sop = site.hidden.study, site.hidden.series, site.hidden.sop
    calls: list[Callable[[], Any]] = [
        lambda: web.retrieve_study(study),
        lambda: list(web.iter_study(study)),
        lambda: web.retrieve_series(study, series),
        lambda: list(web.iter_series(study, series)),
        lambda: web.retrieve_instance(study, series, sop),
        lambda: web.retrieve_study_metadata(study),
        lambda: web.retrieve_series_metadata(study, series),
        lambda: web.retrieve_instance_metadata(study, series, sop),
        lambda: web.retrieve_instance_frames(study, series, sop, [1]),
        lambda: list(web.iter_instance_frames(study, series, sop, [1])),
        lambda: web.retrieve_instance_rendered(study, series, sop),
        lambda: web.retrieve_instance_frames_rendered(study, series, sop, [1]),
        lambda: web.retrieve_series_rendered(study, series),
        lambda: web.retrieve_bulkdata(
            f"{site.root}/studies/{study}/series/{series}/instances/{sop}/bulkdata/7FE00010"
        ),
    ]
    for call in calls:
        with pytest.raises(requests.HTTPError) as refused:
            call()
        assert refused.value.response.status_code == 404
    assert web.search_for_series(study) == web.search_for_instances(study, series) == []


def test_dicomweb_client_changes_nothing(web: DICOMwebClient, site: Site) -> None:
    study, series, sop = site.first
    new = dcmread(io.BytesIO(made().data))
    for call in (
        lambda: web.store_instances([new]),
        lambda: web.store_instances([new], study),
        lambda: web.delete_study(study),
        lambda: web.delete_series(study, series),
        lambda: web.delete_instance(study, series, sop),
    ):
        with pytest.raises(requests.HTTPError) as refused:
            call()
        assert refused.value.response.status_code in (403, 404)
    assert len(web.search_for_instances()) == 4


# -- dicomweb_client, the command --------------------------------------------------------------------------


def command(site: Site, *arguments: str) -> bytes:
    """What `dicomweb_client` prints, with the password of a researcher."""
    name, password = site.server.researcher
    program = Path(sys.executable).parent / "dicomweb_client"
    ran = subprocess.run(
        (str(program), "-vvvv", "--url", site.root, f"--user={name}", f"--password={password}", *arguments),
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    return ran.stdout


def test_the_command_searches(site: Site) -> None:
    study, series, _ = site.first
    studies = json.loads(
        command(site, "search", "studies", "--filter", f"StudyInstanceUID={study}", "--field", "PatientSex")
    )
    assert found(studies, "studies") == [study]
    shown = json.loads(command(site, "search", "series", "--prettify", "--study", study))
    assert set(found(shown, "series")) == {image.series for image in site.ct}
    shown = json.loads(
        command(
            site, "search", "instances", "--study", study, "--series", series, "--limit", "1", "--offset", "1"
        )
    )
    assert len(shown) == 1
    assert b"(0008,001C) Synthetic Data" in command(
        site, "search", "studies", "--dicomize", "--filter", "SyntheticData=NO"
    )


def test_the_command_retrieves_objects(site: Site, tmp_path: Path) -> None:
    study, series, sop = site.first
    for level, folder, expected in (
        (("studies", "--study", study), "a", {image.sop for image in site.ct}),
        (("series", "--study", study, "--series", series), "b", site.series(series)),
        (("instances", "--study", study, "--series", series, "--instance", sop), "c", {sop}),
    ):
        target = tmp_path / folder
        target.mkdir()
        command(site, "retrieve", *level, "full", "--save", "--output-dir", str(target))
        files = [dcmread(path) for path in target.iterdir()]
        assert {str(read.SOPInstanceUID) for read in files} == expected
        shown = command(site, "retrieve", *level, "metadata")
        assert all(uid.encode() in shown for uid in expected)


def test_the_command_retrieves_frames(site: Site, tmp_path: Path) -> None:
    clip = site.clip
    where = ("instances", "--study", clip.study, "--series", clip.series, "--instance", clip.sop, "frames")
    options = ("--numbers", "1", "2", "--media-type", "image/jpeg", JPEG)

    command(site, "retrieve", *where, *options, "--save", "--output-dir", str(tmp_path))

    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jpg", ".jpg"]


# -- curl --------------------------------------------------------------------------------------------------


def curl(site: Site, path: str, *options: str) -> bytes:
    """What `curl` writes out."""
    credentials = ":".join(site.server.researcher)
    ran = subprocess.run(
        (
            "curl",
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--user",
            credentials,
            *options,
            site.root + path,
        ),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def test_curl_searches(site: Site) -> None:
    assert len(json.loads(curl(site, "/studies?SyntheticData=NO"))) == 2
    assert len(json.loads(curl(site, "/studies?SyntheticData=NO", "-H", "Accept: application/json"))) == 2
    assert b"<NativeDicomModel" in curl(
        site, "/studies", "-H", 'Accept: multipart/related; type="application/dicom+xml"'
    )


def test_curl_downloads_an_object(site: Site, tmp_path: Path) -> None:
    study, series, sop = site.first
    target = tmp_path / "object.dcm"
    curl(
        site,
        f"/studies/{study}/series/{series}/instances/{sop}",
        *("-H", "Accept: application/dicom", "--compressed", "--output", str(target)),
    )
    check_objects([dcmread(target)], site.ct[:1])


def test_curl_downloads_a_study_as_zip(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "study.zip"
    curl(site, f"/studies/{site.ct[0].study}", "-H", "Accept: application/zip", "--output", str(target))

    with zipfile.ZipFile(target) as file:
        assert file.testzip() is None
        check_objects([dcmread(io.BytesIO(file.read(name))) for name in file.namelist()], site.ct)


def test_curl_is_told_what_it_did_wrong(site: Site) -> None:
    code = ("--write-out", "%{http_code}", "--output", "/dev/null")

    assert curl(site, f"/studies/{site.hidden.study}", *code) == b"404"
    assert curl(site, "/studies?PatientNam=x", *code) == b"400"
    assert curl(site, f"/studies/{site.ct[0].study}", "-H", "Accept: image/gif", *code) == b"406"
    assert curl(site, "/studies", "--user", "researcher:wrong", *code) == b"401"
    assert curl(site, "/studies", "--request", "DELETE", *code) in (b"403", b"404")
    assert b"limit" in curl(site, "/studies?PatientNam=x")


# -- pyorthanc ---------------------------------------------------------------------------------------------


def test_pyorthanc_is_locked_out_with_the_password_of_a_researcher(site: Site) -> None:
    orthanc = pyorthanc.Orthanc(site.server.url, *site.server.researcher)
    for call in (
        orthanc.get_system,
        orthanc.get_studies,
        orthanc.get_statistics,
        lambda: pyorthanc.find_studies(orthanc, {"PatientID": "*"}),
    ):
        with pytest.raises(Exception, match="403"):
            call()
    assert len(orthanc.get(f"{site.server.url}{RESEARCH}/studies").json()) == 2


def test_pyorthanc_administers_with_the_password_of_an_administrator(site: Site) -> None:
    orthanc = pyorthanc.Orthanc(site.server.url, *site.server.admin)

    assert len(pyorthanc.find_studies(orthanc, {"StudyInstanceUID": site.hidden.study})) == 1
    assert orthanc.get(f"{site.server.url}/provenance/api/status").json()["research_closed_because"] == ""
    tokens = f"{site.server.url}/provenance/api/tokens"
    made_ = orthanc.post(tokens, json={"name": "notebook", "route": "research"}).json()
    assert made_["token"].startswith("prov-")
    assert orthanc.delete(f"{tokens}/{made_['id']}").json()["state"] == "revoked"


# -- requests ----------------------------------------------------------------------------------------------


def ask(site: Site, path: str, **options: Any) -> requests.Response:
    return requests.get(f"{site.root}{path}", auth=site.server.researcher, timeout=60, **options)


def test_requests_retrieves_a_study_in_parts(site: Site) -> None:
    answer = ask(
        site,
        f"/studies/{site.ct[0].study}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        stream=True,
    )
    assert answer.headers["Content-Type"].startswith("multipart/related")
    check_objects([dcmread(io.BytesIO(data)) for data in parts(answer)], site.ct)


def test_requests_may_leave_in_the_middle(site: Site) -> None:
    for _ in range(20):
        with ask(site, f"/studies/{site.clip.study}", stream=True) as answer:
            assert answer.raw.read(1000)
    assert ask(site, "/studies").ok


def test_a_session_keeps_its_connection(site: Site) -> None:
    with requests.Session() as session:
        session.auth = site.server.researcher
        for path in ("/studies", f"/studies/{site.ct[0].study}/metadata", "/studies/1.2.3", "/instances") * 5:
            assert session.get(f"{site.root}{path}", timeout=60).status_code in (200, 404)


def test_a_downloader_gets_a_manifest_with_the_data(site: Site) -> None:
    told = ask(site, "/manifest", params={"SyntheticData": "NO"}).json()["provenance"]

    assert told["counts"] == {"studies": 2, "series": 3, "instances": 4}
    assert told["states"].keys() == {"original"}


def test_pydicom_reads_what_every_client_received(site: Site) -> None:
    study, series, sop = site.first
    data = ask(
        site, f"/studies/{study}/series/{series}/instances/{sop}", headers={"Accept": "application/dicom"}
    ).content
    sent, received = (pydicom.dcmread(io.BytesIO(one)) for one in (site.ct[0].data, data))
    for element in sent:
        assert received[element.tag] == element
