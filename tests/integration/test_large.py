"""A large object holds up nothing: it is stored as it came, judged after that, and stamped as it leaves."""

from __future__ import annotations

import io

import pytest
import requests
from pydicom import dcmread
from support import RESEARCH, ct_image, post, reported, research, until

from launch import Server
from orthanc_provenance.intake import LARGE

pytestmark = pytest.mark.orthanc
_SIDE = 6144


def test_a_large_object_is_stored_as_it_came_and_leaves_with_a_stamp(shared_server: Server) -> None:
    image = ct_image(_SIDE)
    assert len(image.data) > LARGE

    stored = post(shared_server, image).json()["ID"]
    kept = requests.get(
        f"{shared_server.url}/instances/{stored}/file", auth=shared_server.admin, timeout=60
    ).content
    found = until(lambda: reported(shared_server, image), "the large object is assessed")
    path = f"/studies/{image.study}/series/{image.series}/instances/{image.sop}"
    headers = {"Accept": 'application/dicom; transfer-syntax="*"'}
    until(lambda: research(shared_server, path).ok, "it is released")
    left = requests.get(
        f"{shared_server.url}{RESEARCH}{path}",
        headers=headers,
        auth=shared_server.researcher,
        timeout=120,
    )

    assert kept == image.data
    assert found["state"] == "original"
    stamped = dcmread(io.BytesIO(left.content))
    assert stamped.PixelData == dcmread(io.BytesIO(image.data)).PixelData
    assert "STATE:original" in stamped.ContributingEquipmentSequence[-1].SoftwareVersions


def test_a_large_unlabelled_synthetic_object_is_never_seen(shared_server: Server) -> None:
    image = ct_image(_SIDE, generated=True)

    assert post(shared_server, image).ok
    before = research(shared_server, "/instances", StudyInstanceUID=image.study).json()
    found = until(lambda: reported(shared_server, image), "the large object is assessed")

    assert before == []
    assert found["state"] == "ai-generated"
    assert research(shared_server, "/instances", StudyInstanceUID=image.study).json() == []
    assert research(shared_server, f"/studies/{image.study}").status_code == 404
