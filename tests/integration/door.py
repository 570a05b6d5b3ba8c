"""The research door from outside: studies to send, and everything a researcher may try to get at one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pair import decoded, encoded
from pair import image as dataset_of
from pydicom import Dataset, dcmread
from senders import Receipts, post_each, store_each, stow_each
from support import GENERATOR, RESEARCH, Image, new_uid, post, report, reported, research, status, until

from launch import Server

SECRET = "Overwritten"
STATES = ("original", "privacy-protected", "ai-derived", "ai-generated", "simulated", "undetermined")
# What differs from one answer to the next by nature.
_PASSING_HEADERS = ("date", "keep-alive")


def opened(server: Server) -> Server:
    """The server, once research is open."""
    until(lambda: not status(server)["research_closed_because"], "research is open")
    return server


def client(server: Server) -> DICOMwebClient:
    """The DICOMweb client of a researcher."""
    http = requests.Session()
    http.auth = server.researcher
    return DICOMwebClient(f"{server.url}{RESEARCH}", session=http)


def packed(dataset: Dataset) -> Image:
    """A dataset as the file that is sent."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return Image(encoded(dataset), *map(str, uids))


def made(
    study: str = "", series: str = "", *, name: str = "CT_small.dcm", patient: str = "", **attributes: Any
) -> Image:
    """An image that pydicom ships, with UIDs of its own and `attributes` set."""
    study = study or new_uid()
    series = series or new_uid()
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": new_uid()}
    who = {"PatientID": patient or f"P-{study[-8:]}", "PatientName": f"Name^{study[-8:]}"}
    dataset = dataset_of(name, study, **{**uids, **who, **attributes})
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return packed(dataset)


def unlabelled(study: str = "", series: str = "", **attributes: Any) -> Image:
    """A synthetic image that does not say so."""
    return made(study, series, ManufacturerModelName=GENERATOR, **attributes)


def synthetic_in_place_of(image: Image) -> Image:
    """An unlabelled synthetic image with the UIDs of `image`, whose header says SECRET."""
    dataset = decoded(image.data)
    dataset.ManufacturerModelName, dataset.SeriesDescription = GENERATOR, SECRET
    dataset.StudyDescription = SECRET
    found = packed(dataset)
    assert replace(found, data=b"") == replace(image, data=b"")
    return found


def synthesizing_equipment() -> Dataset:
    """An item of the Contributing Equipment Sequence that labels an object as synthetic (CP-2412)."""
    purpose, equipment = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109100", "DCM"
    purpose.CodeMeaning = "Synthesizing Equipment"
    equipment.Manufacturer, equipment.PurposeOfReferenceCodeSequence = "ACME", [purpose]
    return equipment


def from_file(data: bytes) -> Image:
    """A file as an image."""
    read = dcmread(io.BytesIO(data), stop_before_pixels=True)
    return Image(data, read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID)


def store(server: Server, *images: Image) -> None:
    """Send images, all of which Orthanc must take."""
    for image in images:
        answer = post(server, image)
        assert answer.status_code == 200, answer.text


def send(server: Server, image: Image, transport: str) -> None:
    """Send an image by `POST`, `STOW-RS` or `C-STORE`, all of which Orthanc must acknowledge."""
    receipts = Receipts()
    if transport == "POST":
        post_each(server, [image], receipts)
    elif transport == "STOW-RS":
        stow_each(server, [image], receipts)
    else:
        store_each(server, [image], receipts)
    assert receipts.images().keys() == {image}


def store_visible(server: Server, *images: Image) -> None:
    """Send images, and wait until research may retrieve all of them."""
    store(server, *images)
    until(lambda: all(retrieved(server, image) for image in images), "research sees what was stored")


def retrieved(server: Server, image: Image) -> bytes:
    """The bytes of one instance that research gets, b"" where there is none."""
    path = f"/studies/{image.study}/series/{image.series}/instances/{image.sop}"
    answer = research(server, path, accept="application/dicom; transfer-syntax=*")
    assert answer.status_code in (200, 404), answer.text
    return answer.content if answer.ok else b""


def verdict(server: Server, *images: Image) -> str:
    """The verdict on the study of `images`, once the index knows all of them."""

    def look() -> str:
        if not all(reported(server, image) for image in images):
            return ""
        told = report(server, images[0].study)
        return told["routes"]["research"]["verdict"] if told and told["settled"] else ""

    return str(until(look, "the study is assessed"))


def orthanc_study(server: Server, study: str) -> str:
    """Orthanc's identifier of the only study with this UID."""
    asked = {"Level": "Study", "Query": {"StudyInstanceUID": study}}
    (found,) = requests.post(f"{server.url}/tools/find", json=asked, auth=server.admin, timeout=60).json()
    return str(found)


def copied(server: Server, study: str, how: str, **options: Any) -> list[Image]:
    """The images of a copy of a study that Orthanc makes by `how`, `anonymize` or `modify`."""
    url = f"{server.url}/studies/{orthanc_study(server, study)}/{how}"
    answer = requests.post(url, json=options, auth=server.admin, timeout=60)
    answer.raise_for_status()
    new = f"{server.url}/studies/{answer.json()['ID']}/instances"
    found = requests.get(new, auth=server.admin, timeout=60).json()
    files = (f"{server.url}/instances/{one['ID']}/file" for one in found)
    return [from_file(requests.get(url, auth=server.admin, timeout=60).content) for url in files]


# -- what a researcher may try -----------------------------------------------------------------------------


def retrievals(image: Image) -> Iterator[str]:
    """The paths of everything to be had by UID, at each level."""
    study = f"/studies/{image.study}"
    series = f"{study}/series/{image.series}"
    for path in (study, series, f"{series}/instances/{image.sop}"):
        yield from (path, *(f"{path}/{what}" for what in ("metadata", "rendered", "thumbnail")))
    for what in ("frames/1", "frames/1/rendered", "bulkdata/7FE00010"):
        yield f"{path}/{what}"
    yield f"/wado?requestType=WADO&studyUID={image.study}&seriesUID={image.series}&objectUID={image.sop}"


def searches(image: Image) -> Iterator[tuple[str, dict[str, str]]]:
    """Queries by all that may find `image` where it is there, as paths and parameters."""
    read = dcmread(io.BytesIO(image.data), stop_before_pixels=True)
    everywhere = ("/studies", "/series", "/instances")
    within = (
        f"/studies/{image.study}/series",
        f"/studies/{image.study}/instances",
        f"/studies/{image.study}/series/{image.series}/instances",
    )
    person = {"PatientID": str(read.PatientID)}
    anything: list[dict[str, str]] = [
        {},
        {"SyntheticData": "NO"},
        {"ProvenanceState": ",".join(STATES)},
        {"Modality": str(read.Modality), "includefield": "all"},
    ]
    by_attribute: list[dict[str, str]] = [
        {"StudyInstanceUID": image.study},
        {"SeriesInstanceUID": image.series},
        {"SOPInstanceUID": image.sop},
        {"0020000D": image.study},
        {"0020000E": f"1.2.3,{image.series}"},
        person,
        {"PatientID": f"{read.PatientID[:-1]}*"},
        {"PatientID": f"{read.PatientID[:-1]}?"},
        {"PatientName": "*"},
        {"PatientName": str(read.PatientName), "fuzzymatching": "true"},
        {"SyntheticData": "YES"},
        *({"ProvenanceState": state, **person} for state in STATES),
    ]
    for path in (*everywhere, *within):
        for match in (*anything, *(by_attribute if path in everywhere else ())):
            yield path, {**match, "limit": "1000"}


def shows(answer: requests.Response, image: Image) -> bool:
    """Whether an answer names the image, its series or its study."""
    return any(uid.encode() in answer.content for uid in (image.study, image.series, image.sop))


def comparable(answer: requests.Response) -> tuple[int, dict[str, str], bytes]:
    """An answer as far as it may depend on what was asked."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for name in _PASSING_HEADERS:
        headers.pop(name, None)
    return answer.status_code, headers, answer.content


def traces(server: Server, image: Image) -> list[str]:
    """Whatever tells a researcher that `image`, its series or its study are there; [] where nothing does.

    That is what finds or retrieves it, and every answer unlike the one that a UID gets which was never used.
    """
    never = replace(image, study=new_uid(), series=new_uid(), sop=new_uid())
    found = []
    with requests.Session() as http:
        http.auth = server.researcher

        def ask(path: str, **match: str) -> requests.Response:
            if "?" in path:
                # WADO-URI says in parameters of its own what it accepts.
                match = {}
            return http.get(f"{server.url}{RESEARCH}{path}", params=match, timeout=60)

        for (path, match), (other, unknown) in zip(searches(image), searches(never), strict=True):
            answer = ask(path, **match)
            assert answer.status_code == 200, answer.text
            if shows(answer, image):
                found.append(f"{path} {match} finds it")
            by_uid = path != other or match != unknown
            if by_uid and comparable(answer) != comparable(ask(other, **unknown)):
                found.append(f"{path} {match} is answered unlike a UID that was never used")
        for path, other in zip(retrievals(image), retrievals(never), strict=True):
            for accept in (
                "application/dicom+json" if path.endswith("metadata") else "application/dicom",
                "application/zip",
                "*/*",
            ):
                answer = ask(path, accept=accept)
                # A study as one file is acceptable to nobody, whether it is there or not.
                if answer.status_code not in (404, 406):
                    found.append(f"{path} as {accept} answers {answer.status_code}")
                if comparable(answer) != comparable(ask(other, accept=accept)):
                    found.append(f"{path} as {accept} is answered unlike a UID that was never used")
    return found
