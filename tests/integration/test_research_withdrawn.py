"""What is blocked while it is downloaded stops leaving, and no client takes what it got for the whole."""

from __future__ import annotations

import itertools

import pytest
import requests
from support import RESEARCH, ct_image, new_uid, post, research, until

from launch import Server

pytestmark = pytest.mark.orthanc
_OBJECTS = 40
_SIDE = 512


def test_a_study_that_is_blocked_during_its_download_stops_leaving(shared_server: Server) -> None:
    study = new_uid()
    for _ in range(_OBJECTS):
        assert post(shared_server, ct_image(_SIDE, study=study)).ok
    path = f"/studies/{study}/instances"
    until(lambda: len(research(shared_server, path).json()) == _OBJECTS, "the study is released")
    url = f"{shared_server.url}{RESEARCH}/studies/{study}"

    with requests.get(url, auth=shared_server.researcher, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        parts = answer.iter_content(1 << 16)
        received = len(next(parts))
        assert post(shared_server, ct_image(_SIDE, study=study, generated=True)).ok
        until(lambda: not research(shared_server, path).json(), "the study is blocked")
        with pytest.raises(requests.RequestException):
            received += sum(map(len, itertools.chain(parts)))

    # What lies in the buffers of the system has left already.
    assert received < _OBJECTS * _SIDE * _SIDE * 2
    assert research(shared_server, f"/studies/{study}").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", [f"{RESEARCH}/studies", "/provenance/api/keys"])
def test_a_body_is_refused_before_it_is_read(method: str, path: str, shared_server: Server) -> None:
    for user in (shared_server.researcher, shared_server.admin):
        answer = requests.request(
            method, f"{shared_server.url}{path}", data=bytes(1 << 20), auth=user, timeout=60
        )
        assert answer.status_code == 403
