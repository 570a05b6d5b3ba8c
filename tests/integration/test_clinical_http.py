"""HTTP clients upload with the plugin as without; nothing of it shows while a study is fresh.

Both servers compress what they store, watch revisions and serve WebDAV.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pair import (
    STATE_METADATA,
    Pair,
    Side,
    encoded,
    eventually,
    image,
    running_pair,
    study,
    tree,
    uid,
)
from pydicom.fileset import FileSet

pytestmark = pytest.mark.orthanc


@pytest.fixture(scope="module")
def pair(orthanc_version: str) -> Iterator[Pair]:
    config = {"StorageCompression": True, "CheckRevisions": True, "WebDavEnabled": True}
    with running_pair(orthanc_version, config) as made:
        yield made


def uploaded(side: Side, salt: str, **attributes: Any) -> str:
    """A study of its own; returns its identifier."""
    return str(side.upload(encoded(one) for one in study(salt, **attributes))[0]["ParentStudy"])


def told(side: Side, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Status and body of an answer, and its entity tag, in which Orthanc gives revisions."""
    answer = side.call(method, path, **options)
    content = answer.headers.get("Content-Type", "")
    body = answer.json() if "json" in content and answer.content else answer.text
    return {
        "status": answer.status_code,
        "type": content,
        "revision": answer.headers.get("ETag"),
        "body": body,
    }


def levels(side: Side, study_id: str) -> list[str]:
    """The paths of a study and of everything above and below it."""
    found = side.get(f"/studies/{study_id}")
    paths = [f"/patients/{found['ParentPatient']}", f"/studies/{study_id}"]
    for series in sorted(found["Series"]):
        paths.append(f"/series/{series}")
        paths += [f"/instances/{one}" for one in sorted(side.get(f"/series/{series}")["Instances"])]
    return paths


def test_a_fresh_study_shows_nothing_of_the_plugin(pair: Pair) -> None:
    """Metadata, labels, changes and jobs stay those of the bare server until the study has been quiet."""

    def scenario(side: Side) -> list[Any]:
        end = time.monotonic() + 3
        study_id = uploaded(side, "fresh")
        looks: dict[str, Any] = {}
        while time.monotonic() < end:
            look = {
                "metadata": [sorted(side.get(f"{path}/metadata")) for path in levels(side, study_id)],
                "labels": [side.get(f"{path}/labels") for path in levels(side, study_id)],
                "all labels": side.get("/tools/labels"),
                "changes": [
                    (one["ChangeType"], one["ResourceType"], one["ID"])
                    for one in side.get("/changes?limit=1000")["Changes"]
                ],
                "jobs": side.get("/jobs"),
            }
            looks[json.dumps(look)] = look
            time.sleep(0.1)
        return list(looks.values())

    (look,) = pair.agree_at_once(scenario)
    assert look["all labels"] == look["jobs"] == []
    assert len(look["changes"]) == 7


def test_labels_follow_the_state_while_revisions_are_watched(pair: Pair) -> None:
    """Metadata that is there cannot be replaced without its revision; that must not stop anything else."""
    study_id = uploaded(pair.plugin, "labels")
    labelled(pair.plugin, study_id, "original")
    told = pair.plugin.bytes(f"/studies/{study_id}/metadata/{STATE_METADATA}")
    pair.plugin.upload([encoded(image("CT_small.dcm", "labels", 3, ManufacturerModelName="StyleGAN2"))])
    labelled(pair.plugin, study_id, "ai-generated", "original")
    pair.plugin.upload([encoded(image("CT_small.dcm", "labels", 4, PatientIdentityRemoved="YES"))])
    labelled(pair.plugin, study_id, "ai-generated", "original", "privacy-protected")
    assert pair.plugin.bytes(f"/studies/{study_id}/metadata/{STATE_METADATA}") == told


def labelled(side: Side, study_id: str, *states: str) -> None:
    """Waits until a study has the labels of these states and no other."""
    labels = [f"provenance-{state}" for state in states]
    eventually(lambda: side.get(f"/studies/{study_id}/labels"), lambda found: found == labels)


def test_clients_write_metadata_and_labels_alike(pair: Pair) -> None:
    """Revisions included, and while the plugin mirrors its state."""

    def scenario(side: Side) -> list[Any]:
        path = f"/studies/{uploaded(side, 'revised')}"
        metadata = f"{path}/metadata/1024"
        steps = [told(side, "PUT", metadata, data=b"one"), told(side, "PUT", metadata, data=b"two")]
        if side is pair.plugin:
            labelled(side, path.rpartition("/")[2], "original")
        right = {"If-Match": steps[0]["revision"] or ""}
        for headers in ({"If-Match": '"no-such"'}, right):
            steps.append(told(side, "PUT", metadata, data=b"three", headers=headers))
        steps.append(told(side, "GET", metadata))
        steps.append(told(side, "DELETE", metadata))
        steps.append(told(side, "DELETE", metadata, headers={"If-Match": steps[-2]["revision"] or ""}))
        steps += [told(side, method, f"{path}/labels/mine") for method in ("PUT", "GET", "DELETE", "GET")]
        return steps

    statuses = [step["status"] for step in pair.agree(scenario)]
    assert statuses == [200, 409, 400, 200, 200, 409, 200, 200, 200, 200, 404]


def test_stored_files_are_compressed_and_read_back_alike(pair: Pair) -> None:
    def scenario(side: Side) -> dict[str, Any]:
        study_id = uploaded(side, "compressed")
        (first, *_) = (path for path in levels(side, study_id) if "instances" in path)
        packed = side.bytes(f"{first}/attachments/dicom/compressed-data")
        data = side.bytes(f"{first}/file")
        assert side.bytes(f"{first}/attachments/dicom/data") == data
        assert len(packed) < len(data)
        return {"compressed": side.get(f"{first}/attachments/dicom/is-compressed"), **tree(side, study_id)}

    assert pair.agree(scenario)["compressed"] == 1


def archive(salt: str, tmp_path: Path) -> bytes:
    """A ZIP file with a study, its DICOMDIR, a text, and something that only looks like DICOM."""
    folder = tmp_path / salt
    files = FileSet()
    for one in study(salt):
        files.add(one)
    files.write(folder)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, str(file.relative_to(folder)))
        packed.writestr("readme.txt", "not an image")
        packed.writestr("broken.dcm", bytes(128) + b"DICM" + b"\xff" * 64)
    return buffer.getvalue()


def multipart(salt: str) -> tuple[bytes, dict[str, str]]:
    """A study as an HTML form uploads it."""
    body = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.dcm"\r\n\r\n'
        + encoded(one)
        + b"\r\n"
        for one in study(salt)
    )
    return body + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


GZIP = {"Content-Encoding": "gzip"}
# A PNG of one pixel.
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    "kind",
    ["plain", "gzip", "zip", "form", "twice", "garbage", "text", "nothing", "cut", "not gzip", "dicomdir"],
)
def test_uploads_are_answered_alike(pair: Pair, tmp_path: Path, kind: str) -> None:
    salt = f"upload-{kind}"
    whole = encoded(image("CT_small.dcm", salt))
    packed = archive(salt, tmp_path)
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        dicomdir = opened.read("DICOMDIR")
    bodies: dict[str, list[tuple[bytes, dict[str, str]]]] = {
        "plain": [(whole, {})],
        "gzip": [(gzip.compress(whole), GZIP)],
        "zip": [(packed, {}), (packed, {"Content-Type": "application/zip"})],
        "form": [multipart(salt)],
        "twice": [(whole, {}), (whole, {})],
        "garbage": [(b"\x9c\x01\xff" * 1000, {})],
        "text": [(b"no image at all", {"Content-Type": "text/plain"})],
        "nothing": [(b"", {})],
        "cut": [(whole[:400], {}), (whole[:-1000], {})],
        "not gzip": [(whole, GZIP)],
        "dicomdir": [(dicomdir, {})],
    }

    def scenario(side: Side) -> dict[str, Any]:
        answers = [
            told(side, "POST", "/instances", data=data, headers=headers) for data, headers in bodies[kind]
        ]
        found = side.find("Study", {"StudyInstanceUID": uid(salt)})
        return {"answers": answers, "stored": [tree(side, one) for one in found]}

    outcome = pair.agree(scenario)
    stored = sum(len(one["instances"]) for one in outcome["stored"])
    assert stored == {"plain": 1, "gzip": 1, "zip": 3, "form": 3, "twice": 1}.get(kind, 0)


def test_webdav_uploads_are_stored_alike(pair: Pair) -> None:
    salt = "webdav"

    def scenario(side: Side) -> dict[str, Any]:
        status = side.call(
            "PUT", "/webdav/uploads/image.dcm", data=encoded(image("CT_small.dcm", salt))
        ).status_code
        (found,) = eventually(lambda: side.find("Study", {"StudyInstanceUID": uid(salt)}))
        return {"status": status, **tree(side, found)}

    assert len(pair.agree_at_once(scenario)["instances"]) == 1


def test_created_dicom_is_alike(pair: Pair) -> None:
    tags = {"PatientID": "CREATED", "PatientName": "CREATED", "Modality": "OT", "StudyDate": "20300101"}

    def scenario(side: Side) -> dict[str, Any]:
        body = {"Tags": tags, "Content": PIXEL}
        made = side.post("/tools/create-dicom", body)
        found = tree(side, made["ParentStudy"])
        return {"answer": sorted(made), **found}

    assert len(pair.agree(scenario)["instances"]) == 1
