"""Manifests of a real server: what they count, on which route, and that everybody can verify them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from door import made, opened, store, store_visible, unlabelled, verdict
from pydicom import Dataset
from support import Image, new_uid, post, research

from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

ROUTES = {
    "research": {"Users": ["researcher"]},
    "training": {
        "DicomWebRoot": "/training/dicom-web",
        "Users": ["trainer"],
        "DicomPort": 4244,
        "DicomAet": "TRAINING",
        "Purpose": "model-training",
        "RequireIdentityRemoved": True,
    },
}
TRAINER = ("trainer", "password of a trainer")


@dataclass(frozen=True)
class Site:
    """A server with an original study of two series, one with an AI-derived series beside an original one,
    one whose identity was removed, and one that may not leave."""

    server: Server
    derived: Image
    hidden: Image


@pytest.fixture(scope="module")
def site(server_factory: ServerFactory) -> Iterator[Site]:
    config = {"RegisteredUsers": dict((TRAINER,)), "Provenance": {"Routes": ROUTES}}
    with server_factory(config=config) as server:
        opened(server)
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", new_uid()
        original, mixed = new_uid(), new_uid()
        derived = made(mixed, SyntheticData="YES", SourceImageSequence=[source])
        removed = made(PatientIdentityRemoved="YES", DeidentificationMethod="Basic Profile, by hand")
        hidden = unlabelled()
        store(server, hidden)
        store_visible(server, made(original), made(original), made(mixed), derived, removed)
        assert verdict(server, hidden) == "block"
        yield Site(server, derived, hidden)


def told(site: Site, **query: str) -> dict[str, Any]:
    answer = research(site.server, "/manifest", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["provenance"]
    return found


def counts(studies: int, series: int, instances: int) -> dict[str, int]:
    return {"studies": studies, "series": series, "instances": instances}


def test_a_manifest_counts_what_the_route_releases(site: Site) -> None:
    found = told(site)

    assert found["counts"] == counts(3, 5, 5)
    assert found["states"] == {
        "original": counts(2, 3, 3),
        "ai-derived": counts(1, 1, 1),
        "privacy-protected": counts(1, 1, 1),
    }
    (generator,) = found["generators"]
    assert (generator["origin"], generator["declaration"]) == ("ai-derived", None)
    assert told(site, SyntheticData="YES")["counts"] == counts(1, 2, 2)
    assert told(site, StudyInstanceUID=site.derived.study)["counts"] == counts(1, 2, 2)
    assert told(site, StudyInstanceUID=site.hidden.study)["counts"] == counts(0, 0, 0)


def test_each_route_has_a_manifest_of_its_own(site: Site) -> None:
    url = f"{site.server.url}/training/dicom-web/manifest"
    found = requests.get(url, auth=TRAINER, timeout=60).json()["provenance"]

    assert (found["route"], found["purpose"]) == ("training", "model-training")
    assert found["counts"] == counts(1, 1, 1)
    assert found["states"].keys() == {"privacy-protected"}
    assert requests.get(url, auth=site.server.researcher, timeout=60).status_code == 403
    assert requests.get(url, timeout=60).status_code == 401


def test_what_just_arrived_to_close_a_study_is_out_of_the_manifest_at_once(site: Site) -> None:
    image = made()
    store_visible(site.server, image)
    assert told(site, StudyInstanceUID=image.study)["counts"] == counts(1, 1, 1)

    assert post(site.server, unlabelled(image.study)).ok

    assert told(site, StudyInstanceUID=image.study)["counts"] == counts(0, 0, 0)


def test_a_manifest_names_no_patient_and_no_object(site: Site) -> None:
    asked = {"PatientName": "Name*", "StudyInstanceUID": site.derived.study}
    for form in ("jsonld", "csv"):
        answer = research(site.server, "/manifest", format=form, **asked)
        assert answer.status_code == 200
        for secret in ("Name", site.derived.study, site.derived.sop):
            assert secret not in answer.text.replace("PatientName", "")


def test_all_forms_are_verified_by_command_with_the_keys_of_the_gateway(site: Site, tmp_path: Path) -> None:
    for form, name, media_type in (
        ("jsonld", "manifest.jsonld", "application/ld+json"),
        ("csv", "manifest.csv", "text/csv"),
        ("dsse", "manifest.dsse.json", "application/vnd.dsse.envelope.v1+json"),
    ):
        answer = research(site.server, "/manifest", format=form, SyntheticData="YES")
        assert answer.headers["Content-Type"].startswith(media_type)
        assert name in answer.headers["Content-Disposition"]
        (tmp_path / name).write_bytes(answer.content)
    keys = requests.get(f"{site.server.url}/provenance/api/keys", auth=site.server.admin, timeout=60)
    (tmp_path / "keys.json").write_bytes(keys.content)

    assert verified(tmp_path) == (0, "valid", [])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "manifest.csv").read_text(encoding="utf-8"))))
    assert {row["name"]: row["instances"] for row in rows if row["kind"] == "state"} == {
        "ai-derived": "1",
        "original": "1",
    }
    before = hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).digest()
    (tmp_path / "manifest.csv").write_text("kind,name\r\n", encoding="utf-8")
    assert hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).digest() != before
    assert verified(tmp_path) == (1, "altered", ["manifest.csv"])


def verified(folder: Path) -> tuple[int, str, list[str]]:
    """What `orthanc-provenance verify --manifest` says."""
    called = (sys.executable, "-c", "import sys; from orthanc_provenance.cli import main; sys.exit(main())")
    options = ("--keys", str(folder / "keys.json"), "--manifest", str(folder / "manifest.dsse.json"))
    ran = subprocess.run(
        (*called, "verify", "--format", "jsonl", *options),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    result = json.loads(ran.stdout)
    return ran.returncode, result["standing"], result["altered"]
