"""Downloads and DICOMweb on the clinical root give with the plugin what they give without, stamps aside."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from pair import (
    Pair,
    Side,
    encoded,
    eventually,
    image,
    report,
    running_pair,
    shown,
    study,
    tree,
    uid,
)
from support import parts

pytestmark = pytest.mark.orthanc

SALT = "web"
STUDY = f"/dicom-web/studies/{uid(SALT)}"
SERIES = f"{STUDY}/series/{uid(SALT, 1)}"
INSTANCE = f"{SERIES}/instances/{uid(SALT, 1, 1)}"
RELATED = 'multipart/related; type="application/dicom"'


@pytest.fixture(scope="module")
def pair(orthanc_version: str) -> Iterator[Pair]:
    """Both servers hold one study. GDCM is off: it needs more stack than Debian's HTTP threads have."""
    with running_pair(orthanc_version, {"Gdcm": {"Enable": False}}) as made:
        for side in (made.bare, made.plugin):
            side.upload(map(encoded, study(SALT)))
        yield made


def without_stamp(value: Any) -> Any:
    """A DICOM JSON answer (PS3.18 F) without what a stamp adds, and without the address of the server."""
    if isinstance(value, list):
        return [without_stamp(item) for item in value if not is_ours(item)]
    if not isinstance(value, dict):
        return value
    kept = {key: without_stamp(item) for key, item in value.items() if not key.startswith("0099")}
    for sequence in ("00080300", "0018A001"):
        if sequence in kept and not kept[sequence].get("Value"):
            del kept[sequence]
    return kept


def is_ours(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    manufacturer = item.get("00080070", {}).get("Value")
    return manufacturer == ["orthanc-provenance"] or item.get("00080301", {}).get("Value") == [0x0099]


def asked(side: Side, path: str, accept: str, **options: Any) -> dict[str, Any]:
    """Status, type and content of an answer, in comparable form."""
    answer = side.call("GET", path, headers={"Accept": accept}, **options)
    content_type = answer.headers.get("Content-Type", "").partition(";")[0]
    return {
        "status": answer.status_code,
        "type": content_type,
        "content": content(side, answer, content_type),
    }


def content(side: Side, answer: requests.Response, content_type: str) -> Any:
    if content_type == "multipart/related":
        found = [shown(part) if part[128:132] == b"DICM" else part.hex() for part in parts(answer)]
        return sorted(found, key=json.dumps)
    if content_type == "application/dicom":
        return shown(answer.content)
    if "json" in content_type:
        found = without_stamp(json.loads(answer.text.replace(side.server.url, "")))
        return sorted(found, key=json.dumps) if isinstance(found, list) else found
    return answer.content.hex()


QIDO = [
    f"/dicom-web/studies?PatientID=ID-{SALT}&includefield=all",
    f"/dicom-web/studies?StudyInstanceUID={uid(SALT)}&includefield=00081030",
    "/dicom-web/studies?PatientID=NOBODY",
    f"/dicom-web/series?SeriesInstanceUID={uid(SALT, 1)}",
    f"/dicom-web/instances?SOPInstanceUID={uid(SALT, 1, 1)}&includefield=all",
    f"{STUDY}/series",
    f"{STUDY}/instances",
    f"{SERIES}/instances?InstanceNumber=1",
]


@pytest.mark.parametrize("number", range(len(QIDO)))
def test_searches_are_answered_alike(pair: Pair, number: int) -> None:
    outcome = pair.agree(lambda side: asked(side, QIDO[number], "application/dicom+json"))
    assert outcome["status"] == 200
    assert bool(outcome["content"]) is ("NOBODY" not in QIDO[number])


PIXELS = 'multipart/related; type="application/octet-stream"'
WADO = [
    (STUDY, RELATED, 200),
    (SERIES, RELATED, 200),
    (INSTANCE, RELATED, 200),
    (INSTANCE, "application/dicom", 400),
    (f"{STUDY}/metadata", "application/dicom+json", 200),
    (f"{SERIES}/metadata", "application/dicom+json", 200),
    (f"{INSTANCE}/metadata", "application/dicom+json", 200),
    (f"{INSTANCE}/frames/1", PIXELS, 200),
    (f"{INSTANCE}/frames/2", PIXELS, 400),
    (f"{INSTANCE}/bulk/00431029", PIXELS, 200),
    (f"{INSTANCE}/rendered", "image/png", 200),
    (f"{INSTANCE}/frames/1/rendered", "image/jpeg", 200),
    (f"{SERIES}/rendered", "image/png", 200),
    (f"{INSTANCE}/thumbnail", "image/jpeg", 200),
    (f"/dicom-web/studies/{uid('absent')}", RELATED, 404),
    (f"/wado?requestType=WADO&objectUID={uid(SALT, 1, 1)}&contentType=application/dicom", "*/*", 200),
    (f"/wado?requestType=WADO&objectUID={uid(SALT, 1, 1)}&contentType=image/png", "*/*", 200),
]


@pytest.mark.parametrize("number", range(len(WADO)))
def test_retrievals_are_answered_alike(pair: Pair, number: int) -> None:
    path, accept, status = WADO[number]
    assert pair.agree(lambda side: asked(side, path, accept))["status"] == status


def test_images_are_stored_over_the_web_alike(pair: Pair) -> None:
    salt = "stow"
    files = [*map(encoded, study(salt)), b"no image"]
    body = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n" for data in files)
    headers = {"Content-Type": f"{RELATED}; boundary=edge", "Accept": "application/dicom+json"}

    def scenario(side: Side) -> dict[str, Any]:
        answers = [
            side.call("POST", "/dicom-web/studies", data=body + b"--edge--\r\n", headers=headers)
            for _ in range(2)
        ]
        (found,) = side.find("Study", {"StudyInstanceUID": uid(salt)})
        return {
            "answers": [(one.status_code, content(side, one, "json")) for one in answers],
            **tree(side, found),
        }

    assert len(pair.agree(scenario)["instances"]) == 3


def instance_path(side: Side) -> str:
    return f"/instances/{side.find('Instance', {'SOPInstanceUID': uid(SALT, 1, 1)})[0]}"


DOWNLOADS: list[tuple[str, Callable[[requests.Response], Any]]] = [
    ("/file", lambda answer: shown(answer.content)),
    ("/file?transcode=1.2.840.10008.1.2.4.70", lambda answer: shown(answer.content)),
    ("/file?transcode=1.2.840.10008.1.2.1.99", lambda answer: shown(answer.content)),
    ("/preview", lambda answer: answer.content.hex()),
    ("/rendered?width=32", lambda answer: answer.content.hex()),
    ("/image-uint16", lambda answer: answer.content.hex()),
    ("/numpy", lambda answer: answer.content.hex()),
    ("/frames/0/raw", lambda answer: answer.content.hex()),
    ("/frames/1/preview", lambda answer: answer.status_code),
    ("/header", lambda answer: answer.json()),
]


@pytest.mark.parametrize("number", range(len(DOWNLOADS)), ids=lambda number: DOWNLOADS[number][0])
def test_downloads_are_alike(pair: Pair, number: int) -> None:
    path, compared = DOWNLOADS[number]

    def scenario(side: Side) -> Any:
        answer = side.call("GET", instance_path(side) + path)
        return {
            "status": answer.status_code,
            "type": answer.headers.get("Content-Type"),
            "content": compared(answer),
        }

    assert pair.agree(scenario)["status"] == (415 if "frames/1" in path else 200)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/{}/archive",
        "/studies/{}/media",
        "/studies/{}/archive?transcode=1.2.840.10008.1.2.4.70",
    ],
)
def test_archives_are_alike(pair: Pair, path: str) -> None:
    def scenario(side: Side) -> dict[str, Any]:
        (found,) = side.find("Study", {"StudyInstanceUID": uid(SALT)})
        with zipfile.ZipFile(io.BytesIO(side.bytes(path.format(found)))) as opened:
            return {
                name: shown(opened.read(name)) for name in sorted(opened.namelist()) if "DICOMDIR" not in name
            }

    assert len(pair.agree(scenario)) == 3


def test_the_elements_of_a_stamp_have_names(pair: Pair) -> None:
    path = instance_path(pair.plugin)
    names = pair.plugin.get(f"{path}/simplified-tags")
    assert "Unknown Tag & Data" not in names
    assert names["ProvenanceState"] == "original"
    assert names["PixelDigest"].startswith("sha256:")
    added = names.keys() - pair.bare.get(f"{instance_path(pair.bare)}/simplified-tags").keys()
    ours = {one["Name"] for tag, one in pair.plugin.get(f"{path}/tags").items() if tag.startswith("0099,")}
    assert ours - {"PrivateCreator"} <= added
    assert "ProvenanceOrigin" in ours


def test_a_deleted_study_leaves_nothing_in_the_index(pair: Pair) -> None:
    side = pair.plugin
    study_id = side.upload(map(encoded, study("deleted")))[0]["ParentStudy"]
    report(side, uid("deleted"))
    assert side.call("DELETE", f"/studies/{study_id}").ok
    forgotten(side, "deleted")


def test_a_study_that_is_deleted_while_it_arrives_leaves_nothing_in_the_index(pair: Pair) -> None:
    side, salt = pair.plugin, "deleted while it arrives"
    images = [encoded(image("MR_small.dcm", salt, 1, number)) for number in range(40)]
    study_id = side.upload(images[:1])[0]["ParentStudy"]
    with ThreadPoolExecutor() as pool:
        arriving = pool.submit(Side(side.server).upload, images)
        while not arriving.done():
            side.call("DELETE", f"/studies/{study_id}")
        assert len(arriving.result()) == 40
    side.call("DELETE", f"/studies/{study_id}")
    assert side.find("Study", {"StudyInstanceUID": uid(salt)}) == []
    forgotten(side, salt)


def forgotten(side: Side, salt: str) -> None:
    """Waits until the index holds nothing of a study, nothing is on its way, and it stays so for a second."""

    def is_gone() -> bool:
        status = side.call("GET", f"/provenance/api/studies/{uid(salt)}").status_code
        return status == 404 and side.get("/provenance/api/status")["pending_instances"] == 0

    def stays_gone() -> bool:
        # A row that was on its way when its image was deleted may still arrive, and is then removed.
        for _ in range(20):
            if not is_gone():
                return False
            time.sleep(0.05)
        return True

    eventually(stays_gone)
