"""Where Orthanc keeps what it has, nothing that is sent in its place, or copied from it, opens research."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from door import (
    SECRET,
    copied,
    made,
    opened,
    retrieved,
    send,
    store,
    store_visible,
    synthetic_in_place_of,
    traces,
    unlabelled,
    verdict,
)
from support import Image, post, report, reported, status, until

from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

TRANSPORTS = ("POST", "STOW-RS", "C-STORE")
# Copies without a word of what they were made from, whose source the job deletes.
EVIDENCE = ["ManufacturerModelName", "SyntheticData", "ContributingEquipmentSequence", "0008-0300"]
LAUNDERING: dict[str, dict[str, Any]] = {
    "anonymize": {"Remove": EVIDENCE, "KeepSource": False},
    "modify": {"Remove": EVIDENCE, "KeepSource": False, "RemovePrivateTags": True},
}


@pytest.fixture(scope="module")
def server(server_factory: ServerFactory) -> Iterator[Server]:
    with server_factory() as started:
        yield opened(started)


@pytest.mark.parametrize("wait", [True, False], ids=["assessed before", "at once"])
def test_a_real_image_in_place_of_a_synthetic_one_that_is_kept_opens_nothing(
    wait: bool, server: Server
) -> None:
    reals = {transport: made() for transport in TRANSPORTS}
    for transport, real in reals.items():
        kept = synthetic_in_place_of(real)
        store(server, kept)
        if wait:
            assert verdict(server, kept) == "block"
        send(server, real, transport)
        assert not retrieved(server, real)

    def is_done() -> bool:
        assert not any(retrieved(server, real) for real in reals.values())
        return not status(server)["pending_instances"]

    until(is_done, "nothing is on its way")
    for real in reals.values():
        assert verdict(server, real) == "block"
        assert traces(server, real) == []


def test_a_synthetic_image_in_place_of_a_real_one_that_is_kept_closes_it_only_for_a_while(
    server: Server,
) -> None:
    reals = {transport: made() for transport in TRANSPORTS}
    store_visible(server, *reals.values())
    before = {transport: retrieved(server, real) for transport, real in reals.items()}
    for transport, real in reals.items():
        send(server, synthetic_in_place_of(real), transport)
    until(lambda: not status(server)["pending_instances"], "nothing is on its way")
    until(lambda: all(retrieved(server, real) for real in reals.values()), "the real ones are visible")
    assert {transport: retrieved(server, real) for transport, real in reals.items()} == before
    assert not any(SECRET.encode() in data for data in before.values())


def test_a_copy_stays_closed_when_its_synthetic_source_is_deleted(server: Server) -> None:
    copies: list[Image] = []
    for wait in (True, False):
        for how, options in LAUNDERING.items():
            image = unlabelled()
            store(server, image)
            if wait:
                assert verdict(server, image) == "block"
            (copy,) = copied(server, image.study, how, **options)
            assert traces(server, copy) == []
            assert verdict(server, copy) == "block"
            until(lambda study=image.study: report(server, study) is None, "the source is forgotten")
            copies.append(copy)
    told = [reported(server, copy) for copy in copies]
    # Sent again, a copy is assessed anew, and by what was known of it.
    assert {post(server, copy).json()["Status"] for copy in copies} == {"AlreadyStored"}
    until(lambda: not status(server)["pending_instances"], "nothing is on its way")
    assert [reported(server, copy) for copy in copies] == told
    for copy in copies:
        assert verdict(server, copy) == "block"
        assert traces(server, copy) == []


def test_a_copy_of_a_deleted_synthetic_source_stays_closed_when_the_index_is_lost(
    server_factory: ServerFactory,
) -> None:
    with server_factory() as server:
        image = unlabelled()
        store(opened(server), image)
        (copy,) = copied(server, image.study, "anonymize", **LAUNDERING["anonymize"])
        assert verdict(server, copy) == "block"
        until(lambda: mirrored(server, copy) == "ai-generated", "the state is in the metadata of the copy")
        server.stop()
        for file in server.data.glob("provenance.db*"):
            file.unlink()
        server.start()
        assert verdict(opened(server), copy) == "block"
        assert traces(server, copy) == []


def mirrored(server: Server, image: Image) -> str:
    """The state of an instance in Orthanc's own metadata."""
    found = requests.post(f"{server.url}/tools/lookup", data=image.sop, auth=server.admin, timeout=60).json()
    (path,) = (item["Path"] for item in found if item["Type"] == "Instance")
    answer = requests.get(f"{server.url}{path}/metadata/9901", auth=server.admin, timeout=60)
    return answer.text if answer.ok else ""
