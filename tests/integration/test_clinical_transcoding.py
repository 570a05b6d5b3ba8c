"""Images that Orthanc transcodes as they arrive are stored as without the plugin, stamped as they leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dimse
import pytest
import requests
from pair import Pair, Side, decoded, is_stamped, report, running_pair, study, tree, uid
from support import parts, research, until

from launch.server import Server

pytestmark = pytest.mark.orthanc

LOSSLESS, LOSSY = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.51"


@pytest.fixture(scope="module", params=[LOSSLESS, LOSSY], ids=["lossless", "lossy"])
def pair(orthanc_version: str, request: pytest.FixtureRequest) -> Iterator[Pair]:
    with running_pair(orthanc_version, {"IngestTranscoding": request.param}) as made:
        yield made


def released(server: Server, path: str) -> requests.Response | None:
    answer = research(server, path)
    return answer if answer.ok else None


def sent(side: Side, salt: str) -> dict[str, Any]:
    """A study sent by C-STORE: Debian's HTTP threads have too little stack for GDCM's codecs."""
    statuses = dimse.send(side.server.dicom_port, study(salt))
    (found,) = side.find("Study", {"StudyInstanceUID": uid(salt)})
    return {"statuses": statuses, **tree(side, found)}


def test_transcoded_images_are_stored_alike_and_stamped_as_they_leave(pair: Pair) -> None:
    outcome = pair.agree(lambda side: sent(side, "arriving"))
    syntax = pair.plugin.server.config["IngestTranscoding"]
    assert outcome["statuses"] == [0, 0, 0]
    assert [one["metadata"]["TransferSyntax"] for one in outcome["instances"]] == [syntax] * 3
    for instance in pair.plugin.find("Instance", {"StudyInstanceUID": uid("arriving")}):
        assert not is_stamped(decoded(pair.plugin.bytes(f"/instances/{instance}/file")))
    path = f"/studies/{uid('arriving')}"
    leaving = parts(until(lambda: released(pair.plugin.server, path), "the study is released"))
    assert [is_stamped(decoded(data)) for data in leaving] == [True] * 3
    found = report(pair.plugin, uid("arriving"))
    assert [one["state"] for series in found["series"] for one in series["instances"]] == ["original"] * 3
    stored = {one["MainDicomTags"]["SOPInstanceUID"] for one in outcome["instances"]}
    assert {one["SOPInstanceUID"] for series in found["series"] for one in series["instances"]} == stored


def test_transcoded_images_are_released_now_and_by_an_index_that_is_made_anew(pair: Pair) -> None:
    sent(pair.plugin, "anew")
    assert report(pair.plugin, uid("anew"))["routes"]["research"]["verdict"] == "release"
    server = pair.plugin.server
    server.stop()
    for file in server.data.glob("provenance.db*"):
        file.unlink()
    server.start()
    assert report(pair.plugin, uid("anew"))["routes"]["research"]["verdict"] == "release"
