"""DICOM clients, modalities and peers get with the plugin what they get without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dimse
import pydicom
import pytest
from dimse import SINK, WORKSTATION, Sink, query, running_sink
from pair import (
    Pair,
    Side,
    decoded,
    elements,
    encoded,
    eventually,
    image,
    is_stamped,
    running_pair,
    shown,
    study,
    tree,
    uid,
)
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.sop_class import ModalityWorklistInformationFind

pytestmark = pytest.mark.orthanc

PLUGINS = "/usr/share/orthanc/plugins"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def pair(orthanc_version: str, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers know the sink, the workstation, and each other as modality and peer `other`."""
    worklists = tmp_path_factory.mktemp("worklists")
    worklist(worklists / "one.wl")
    (worklists / "lockfile").touch()
    config = {
        "Plugins": [f"{PLUGINS}/libModalityWorklists.so"],
        "Worklists": {"Enable": True, "Database": str(worklists)},
        "DicomModalities": {
            "sink": [SINK, "127.0.0.1", sink.port],
            "ws": [WORKSTATION, "127.0.0.1", sink.port],
        },
    }
    with running_pair(orthanc_version, config) as made:
        introduce(made.bare, made.plugin)
        introduce(made.plugin, made.bare)
        yield made


def introduce(side: Side, other: Side) -> None:
    user, password = other.server.admin
    modality = {"AET": "ORTHANC", "Host": "127.0.0.1", "Port": other.server.dicom_port}
    peer = {"Url": other.server.url, "Username": user, "Password": password}
    assert side.call("PUT", "/modalities/other", json=modality).ok
    assert side.call("PUT", "/peers/other", json=peer).ok
    web = {"Url": f"{other.server.url}/dicom-web/", "Username": user, "Password": password}
    assert side.call("PUT", "/dicom-web/servers/other", json=web).ok


def worklist(path: Path) -> None:
    """An entry of a modality worklist, as file."""
    step, entry = Dataset(), Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", WORKSTATION
    step.ScheduledProcedureStepStartDate = "20300101"
    entry.PatientID, entry.PatientName, entry.AccessionNumber = "WL", "WORK^LIST", "ACC"
    entry.StudyInstanceUID = uid("worklist")
    entry.ScheduledProcedureStepSequence = [step]
    entry.file_meta = pydicom.dataset.FileMetaDataset()
    entry.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    entry.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    entry.file_meta.MediaStorageSOPInstanceUID = uid("worklist entry")
    entry.save_as(path, enforce_file_format=True)


def stored(side: Side, salt: str) -> list[Dataset]:
    """The stored objects of a study, in the order of SOP Instance UIDs."""
    found = side.find("Instance", {"StudyInstanceUID": uid(salt)})
    objects = [decoded(side.bytes(f"/instances/{instance}/file")) for instance in found]
    return sorted(objects, key=lambda dataset: str(dataset.SOPInstanceUID))


def test_echo_is_answered_alike(pair: Pair) -> None:
    assert pair.agree(lambda side: dimse.echo(side.server.dicom_port)) == 0


def test_images_are_accepted_alike(pair: Pair) -> None:
    salt = "sent"
    images = [*study(salt), image("MR_small_RLE.dcm", salt, 3), image("JPEG2000.dcm", salt, 4)]

    def scenario(side: Side) -> dict[str, Any]:
        first, again = (dimse.send(side.server.dicom_port, images) for _ in range(2))
        (found,) = side.find("Study", {"StudyInstanceUID": uid(salt)})
        return {"first": first, "again": again, **tree(side, found)}

    outcome = pair.agree(scenario)
    assert outcome["first"] == [0] * 5
    assert all(is_stamped(dataset) for dataset in stored(pair.plugin, salt))


@pytest.mark.parametrize(
    "asked",
    [
        query("STUDY", PatientID="ID-found", StudyInstanceUID="", StudyDescription="", ModalitiesInStudy=""),
        query("SERIES", StudyInstanceUID=uid("found"), SeriesInstanceUID="", Modality=""),
        query("IMAGE", StudyInstanceUID=uid("found"), SeriesInstanceUID=uid("found", 1), SOPInstanceUID=""),
        query("STUDY", PatientID="NOBODY", StudyInstanceUID=""),
    ],
    ids=["studies", "series", "images", "nothing"],
)
def test_queries_are_answered_alike(pair: Pair, asked: Dataset) -> None:
    def scenario(side: Side) -> list[Any]:
        side.upload(map(encoded, study("found")))
        return dimse.find(side.server.dicom_port, asked)

    outcome = pair.agree(scenario)
    assert outcome[-1] == (0x0000, None)
    assert bool(outcome[:-1]) is (asked.get("PatientID") != "NOBODY")


def test_moved_images_are_the_stored_ones(pair: Pair, sink: Sink) -> None:
    """Compressed ones are transcoded on the way, because the sink takes no other."""
    salt = "moved"
    images = [*study(salt), image("MR_small_RLE.dcm", salt, 3)]

    def scenario(side: Side) -> dict[str, Any]:
        side.upload(map(encoded, images))
        answer = dimse.move(side.server.dicom_port, query("STUDY", StudyInstanceUID=uid(salt)))
        return {"answer": answer, "received": sink.take()}

    bare, plugin = scenario(pair.bare), scenario(pair.plugin)
    assert plugin["answer"] == bare["answer"] == {"Status": 0, "Completed": 4, "Failed": 0, "Warning": 0}
    assert list(map(shown, plugin["received"])) == list(map(shown, bare["received"]))
    for received, kept in zip(plugin["received"], stored(pair.plugin, salt), strict=True):
        if not kept.file_meta.TransferSyntaxUID.is_compressed:
            assert elements(received) == elements(kept)
            assert is_stamped(received)


def test_retrieved_images_are_the_stored_ones(pair: Pair) -> None:
    salt = "got"

    def scenario(side: Side) -> dict[str, Any]:
        side.upload(map(encoded, study(salt)))
        asked = query("STUDY", StudyInstanceUID=uid(salt))
        answer, received = dimse.get(side.server.dicom_port, asked, CTImageStorage, ExplicitVRLittleEndian)
        assert [elements(one.dataset) for one in received] == list(map(elements, stored(side, salt)))
        return {"answer": answer, "received": [shown(one.dataset) for one in received]}

    outcome = pair.agree(scenario)
    assert outcome["answer"] == {"Status": 0, "Completed": 3, "Failed": 0, "Warning": 0}


def test_images_are_sent_to_modalities_as_they_are_stored(pair: Pair, sink: Sink) -> None:
    salt = "routed"

    def scenario(side: Side) -> dict[str, Any]:
        side.upload(map(encoded, study(salt)))
        answer = side.post("/modalities/sink/store", side.find("Study", {"StudyInstanceUID": uid(salt)}))
        received = sink.take()
        assert list(map(elements, received)) == list(map(elements, stored(side, salt)))
        return {"answer": answer, "received": list(map(shown, received))}

    assert pair.agree(scenario)["answer"]["InstancesCount"] == 3


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_server_has_the_other_move_images(pair: Pair, sink: Sink, asynchronous: bool) -> None:
    salt = f"asked-{asynchronous}"

    def scenario(side: Side) -> dict[str, Any]:
        other = pair.plugin if side is pair.bare else pair.bare
        other.upload(map(encoded, study(salt)))
        body = {
            "Level": "Study",
            "Resources": [{"StudyInstanceUID": uid(salt)}],
            "TargetAet": SINK,
            "Asynchronous": asynchronous,
        }
        answer = side.post("/modalities/other/move", body)
        job = side.job(answer["ID"]) if asynchronous else answer
        return {"job": job.get("State"), "keys": sorted(job), "received": list(map(shown, sink.take()))}

    assert len(pair.agree(scenario)["received"]) == 3


def test_a_server_queries_and_retrieves_from_the_other(pair: Pair) -> None:
    salt = "retrieved"

    def scenario(side: Side) -> dict[str, Any]:
        other = pair.plugin if side is pair.bare else pair.bare
        ids = other.upload(map(encoded, study(salt)))
        asked = {"Level": "Study", "Query": {"StudyInstanceUID": uid(salt)}}
        found = side.post("/modalities/other/query", asked)
        answers = side.get(f"{found['Path']}/answers/0/content?simplify")
        retrieved = side.post(f"{found['Path']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        outcome = {"answers": answers, "retrieved": retrieved, **tree(side, ids[0]["ParentStudy"])}
        for one in (side, other):
            one.call("DELETE", f"/studies/{ids[0]['ParentStudy']}")
        return outcome

    assert len(pair.agree(scenario)["instances"]) == 3


def test_a_server_gets_images_from_the_other(pair: Pair) -> None:
    def get(side: Side, _study_id: str, salt: str) -> Any:
        return side.post(
            "/modalities/other/get", {"Level": "Study", "Resources": [{"StudyInstanceUID": uid(salt)}]}
        )

    transferred(pair, "gotten", get)


def test_a_server_fetches_images_over_dicomweb(pair: Pair) -> None:
    def retrieve(side: Side, _study_id: str, salt: str) -> Any:
        return side.post("/dicom-web/servers/other/retrieve", {"Resources": [{"Study": uid(salt)}]})

    transferred(pair, "fetched", retrieve)


def transferred(pair: Pair, salt: str, fetch: Callable[[Side, str, str], Any]) -> dict[str, Any]:
    """What a server holds after it fetched a study from the other; neither holds it any more."""

    def scenario(side: Side) -> dict[str, Any]:
        other = pair.plugin if side is pair.bare else pair.bare
        study_id = other.upload(map(encoded, study(salt)))[0]["ParentStudy"]
        answer = fetch(side, study_id, salt)
        outcome = {"keys": sorted(answer), **tree(side, study_id)}
        assert all(is_stamped(dataset) for dataset in stored(side, salt))
        for one in (side, other):
            one.call("DELETE", f"/studies/{study_id}")
        return outcome

    return pair.agree(scenario)


def test_a_peer_stores_alike(pair: Pair) -> None:
    salt = "peer"

    def scenario(side: Side) -> dict[str, Any]:
        other = pair.plugin if side is pair.bare else pair.bare
        ids = side.upload(map(encoded, study(salt)))
        answer = side.post("/peers/other/store", [ids[0]["ParentStudy"]])
        counts = {key: answer[key] for key in ("InstancesCount", "FailedInstancesCount", "ParentResources")}
        outcome = {"answer": counts, **tree(other, ids[0]["ParentStudy"])}
        stamps = [is_stamped(dataset) for one in (side, other) for dataset in stored(one, salt)]
        assert stamps == ([False] * 3 + [True] * 3 if side is pair.bare else [True] * 6)
        for one in (side, other):
            one.call("DELETE", f"/studies/{ids[0]['ParentStudy']}")
        return outcome

    assert len(pair.agree(scenario)["instances"]) == 3


def test_storage_commitment_is_answered_alike(pair: Pair) -> None:
    """Asked for by one server and given by the other, for an image that is there and one that is not."""
    salt = "committed"

    def scenario(side: Side) -> dict[str, Any]:
        other = pair.plugin if side is pair.bare else pair.bare
        other.upload(map(encoded, study(salt)))
        wanted = [[CTImageStorage, uid(salt, 1, 1)], [CTImageStorage, uid("absent")]]
        asked = side.post("/modalities/other/storage-commitment", {"DicomInstances": wanted})
        told = eventually(lambda: side.get(asked["Path"]), lambda told: told["Status"] != "Pending")
        return {key: told[key] for key in ("Status", "Success", "Failures")}

    outcome = pair.agree(scenario)
    assert (len(outcome["Success"]), len(outcome["Failures"])) == (1, 1)


def test_worklists_are_answered_alike(pair: Pair) -> None:
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", ""
    asked = Dataset()
    asked.PatientID = asked.PatientName = asked.StudyInstanceUID = ""
    asked.ScheduledProcedureStepSequence = [step]

    def scenario(side: Side) -> list[Any]:
        return dimse.find(side.server.dicom_port, asked, ModalityWorklistInformationFind)

    assert "WORK^LIST" in str(pair.agree(scenario)[0])
