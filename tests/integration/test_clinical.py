"""Orthanc's own jobs give with the plugin what they give without: objects, lineage, metadata, outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pair import (
    STATE_METADATA,
    Pair,
    Side,
    decoded,
    encoded,
    eventually,
    image,
    is_stamped,
    report,
    running_pair,
    shown,
    study,
    tree,
    uid,
)

pytestmark = pytest.mark.orthanc

LEVELS = {"patients": "Patient", "studies": "Study", "series": "Series", "instances": "Instance"}
UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
# A modification that takes away all that a stamp consists of.
UNSTAMP = {"RemovePrivateTags": True, "Remove": ["0008-0300", "0018-a001"]}


@pytest.fixture(scope="module")
def pair(orthanc_version: str) -> Iterator[Pair]:
    # Two threads of the job, so that outputs are also stored by threads that are not the job's own.
    config = {"JobsEngineThreadsCount": {"ResourceModification": 2}, "OverwriteInstances": True}
    with running_pair(orthanc_version, config) as made:
        yield made


def uploaded(side: Side, salt: str, level: str) -> str:
    """A study of its own; returns its first resource at `level`."""
    side.upload(map(encoded, study(salt)))
    return first(side, salt, level)


def first(side: Side, salt: str, level: str) -> str:
    query = {"PatientID": f"ID-{salt}"}
    if level in ("series", "instances"):
        query["SeriesInstanceUID"] = uid(salt, 1)
    if level == "instances":
        query["SOPInstanceUID"] = uid(salt, 1, 1)
    (found,) = side.find(LEVELS[level], query)
    return found


def after(side: Side, salt: str, before: set[str]) -> dict[str, Any]:
    """The studies that came in since `before`, and what is left of the study `salt`."""
    new = [tree(side, found) for found in set(side.get("/studies")) - before]
    new.sort(key=lambda one: [shown_object["7FE00010"]["BulkDataURI"] for shown_object in one["objects"]])
    left = [tree(side, found) for found in side.find("Study", {"StudyInstanceUID": uid(salt)})]
    return {"new": new, "left": left}


def ended(side: Side, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, with the job's outcome where it started one."""
    job = side.job(answer["ID"]) if "/jobs/" in answer.get("Path", "") else {}
    told = ("Type", "State", "ErrorCode", "ErrorDescription", "Progress", "Priority", "Content")
    return {"answer": answer, "job": {key: job.get(key) for key in told}}


def derived(outcome: dict[str, Any], lineage: str) -> list[dict[str, Any]]:
    """The instances that say from which others they were made."""
    studies = outcome["new"] + outcome["left"]
    return [instance for one in studies for instance in one["instances"] if lineage in instance["metadata"]]


RENAME = {"Replace": {"StudyDescription": "changed"}, "Force": True}
CHANGES = [
    ("studies", "modify", {"Replace": {"StudyDescription": "changed"}}),
    ("studies", "modify", {**RENAME, "KeepSource": False}),
    ("studies", "modify", {**RENAME, "Asynchronous": True}),
    ("studies", "modify", {**RENAME, "Transcode": "1.2.840.10008.1.2.4.70"}),
    ("studies", "modify", {**UNSTAMP, "Asynchronous": True}),
    ("series", "modify", {**UNSTAMP, "Replace": {"SeriesDescription": "changed"}}),
    ("series", "modify", {"Replace": {"SeriesDescription": "changed"}, "KeepSource": False}),
    ("patients", "modify", {**UNSTAMP, "Replace": {"PatientID": "OTHER"}, "Force": True}),
    ("patients", "modify", {"Replace": {"PatientID": "THIRD"}, "Force": True, "KeepSource": False}),
    ("studies", "anonymize", {}),
    ("studies", "anonymize", {"Asynchronous": True, "KeepSource": False}),
    ("studies", "anonymize", {"KeepPrivateTags": True, "Keep": ["StudyDescription"]}),
    ("series", "anonymize", {}),
    ("series", "anonymize", {"Transcode": "1.2.840.10008.1.2.4.70", "Asynchronous": True}),
    ("patients", "anonymize", {"Replace": {"PatientName": "NOBODY"}}),
    ("patients", "anonymize", {"KeepSource": False}),
]


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=lambda number: "-".join(CHANGES[number][:2]))
def test_modification_and_anonymisation_give_the_same_studies(pair: Pair, number: int) -> None:
    level, operation, body = CHANGES[number]
    salt = f"change-{number}"

    def scenario(side: Side) -> dict[str, Any]:
        source = uploaded(side, salt, level)
        before = set(side.get("/studies"))
        answer = ended(side, side.post(f"/{level}/{source}/{operation}", body))
        return {**answer, **after(side, salt, before)}

    outcome = pair.agree(scenario)
    lineage = "ModifiedFrom" if operation == "modify" else "AnonymizedFrom"
    assert len(derived(outcome, lineage)) == (2 if level == "series" else 3)
    assert any(
        lineage in one["metadata"] for new in outcome["new"] + outcome["left"] for one in new["series"]
    )
    assert outcome["job"]["State"] in (None, "Success")


IN_PLACE = [
    ("studies", {"Keep": UIDS, "Replace": {"StudyDescription": "changed"}}),
    ("series", {"Keep": UIDS, "Replace": {"SeriesDescription": "changed"}, "Asynchronous": True}),
    ("studies", {"Keep": ["SOPInstanceUID"], **UNSTAMP}),
]


@pytest.mark.parametrize("number", range(len(IN_PLACE)))
def test_modification_that_keeps_uids_is_alike(pair: Pair, number: int) -> None:
    level, body = IN_PLACE[number]
    salt = f"in-place-{number}"

    def scenario(side: Side) -> dict[str, Any]:
        source = uploaded(side, salt, level)
        before = set(side.get("/studies"))
        answer = ended(side, side.post(f"/{level}/{source}/modify", {**body, "Force": True}))
        return {**answer, **after(side, salt, before)}

    outcome = pair.agree(scenario)
    assert bool(outcome["new"]) is not (body["Keep"] == UIDS)
    assert len(derived(outcome, "ModifiedFrom")) == (2 if level == "series" else 3)


def test_outputs_of_jobs_are_byte_for_byte_those_of_the_bare_server(pair: Pair) -> None:
    salt = "bytes"

    def scenario(side: Side) -> list[bytes]:
        source = uploaded(side, salt, "studies")
        assert [is_stamped(decoded(data)) for data in files(side, salt)] == [side is pair.plugin] * 3
        side.post(f"/studies/{source}/modify", {**UNSTAMP, "Keep": UIDS, "Force": True})
        return files(side, salt)

    assert scenario(pair.plugin) == scenario(pair.bare)
    found = report(pair.plugin, uid(salt))
    assert not any(instance["stamped"] for series in found["series"] for instance in series["instances"])
    assert found["routes"]["research"]["verdict"] == "release"


def files(side: Side, salt: str) -> list[bytes]:
    """The stored files of a study."""
    found = side.find("Instance", {"StudyInstanceUID": uid(salt)})
    return [side.bytes(f"/instances/{instance}/file") for instance in found]


@pytest.mark.parametrize("operation", ["modify", "anonymize"])
def test_copies_of_synthetic_studies_are_alike_and_stay_labelled(pair: Pair, operation: str) -> None:
    """Alike but for the label, which the stamp has given to the source."""
    salt = f"synthetic-{operation}"

    def scenario(side: Side) -> dict[str, Any]:
        side.upload(encoded(one) for one in study(salt, ManufacturerModelName="StyleGAN2"))
        before = set(side.get("/studies"))
        answer = ended(side, side.post(f"/studies/{first(side, salt, 'studies')}/{operation}", {}))
        outcome = {**answer, **after(side, salt, before)}
        studies = outcome["new"] + outcome["left"]
        labels = [shown.pop("0008001C", None) for one in studies for shown in one["objects"]]
        assert labels == [{"vr": "CS", "Value": ["YES"]} if side is pair.plugin else None] * 6
        return outcome

    study_uid = pair.agree(scenario)["new"][0]["study"]["MainDicomTags"]["StudyInstanceUID"]
    found = report(pair.plugin, study_uid)
    assert found["routes"]["research"]["verdict"] == "block"


STALE = [
    ("modify", {"Replace": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"}}),
    ("anonymize", {"KeepPrivateTags": True}),
]


@pytest.mark.parametrize("number", range(len(STALE)))
def test_copies_with_the_stamp_of_their_source_are_released(pair: Pair, number: int) -> None:
    operation, body = STALE[number]
    source = uploaded(pair.plugin, f"stale-{number}", "studies")
    made = pair.plugin.post(f"/studies/{source}/{operation}", body)["ID"]
    study_uid = pair.plugin.get(f"/studies/{made}")["MainDicomTags"]["StudyInstanceUID"]
    assert report(pair.plugin, study_uid)["routes"]["research"]["verdict"] == "release"


def test_a_copy_with_the_stamp_of_its_source_and_other_pixels_is_withheld_as_a_conflict(pair: Pair) -> None:
    source = uploaded(pair.plugin, "stale-pixels", "studies")
    body = {"Transcode": "1.2.840.10008.1.2.4.70", "Replace": {"StudyDescription": "changed"}}
    made = pair.plugin.post(f"/studies/{source}/modify", body)["ID"]
    study_uid = pair.plugin.get(f"/studies/{made}")["MainDicomTags"]["StudyInstanceUID"]
    found = report(pair.plugin, study_uid)
    assert found["routes"]["research"]["verdict"] == "withhold"
    markers = {
        says["marker"]
        for series in found["series"]
        for one in series["instances"]
        for says in one["evidence"]
    }
    assert "conflict.stamp" in markers


@pytest.mark.parametrize("operation", ["modify", "anonymize"])
def test_modified_instances_are_answered_alike_and_stored_again_alike(pair: Pair, operation: str) -> None:
    salt = f"instance-{operation}"

    def scenario(side: Side) -> dict[str, Any]:
        source = uploaded(side, salt, "instances")
        before = set(side.get("/studies"))
        body = {"Replace": {"StudyDescription": "changed"}, "Keep": ["SeriesNumber"]}
        data = side.call("POST", f"/instances/{source}/{operation}", json=body)
        stored = side.upload([data.content])
        return {
            "status": (data.status_code, data.headers["Content-Type"]),
            "object": shown(data.content),
            "stored": stored,
            **after(side, salt, before),
        }

    outcome = pair.agree(scenario)
    assert outcome["status"] == (200, "application/dicom")
    assert [found["Status"] for found in outcome["stored"]] == ["Success"]


BULK = [
    ("bulk-modify", {**UNSTAMP, "Replace": {"StudyDescription": "changed"}}),
    ("bulk-modify", {"Replace": {"StudyDescription": "changed"}, "Level": "Study", "KeepSource": False}),
    ("bulk-anonymize", {}),
    ("bulk-anonymize", {"Asynchronous": True, "KeepSource": False}),
]


@pytest.mark.parametrize("number", range(len(BULK)), ids=lambda number: BULK[number][0])
def test_bulk_changes_give_the_same_studies(pair: Pair, number: int) -> None:
    operation, body = BULK[number]
    salts = [f"bulk-{number}-{which}" for which in ("a", "b")]

    def scenario(side: Side) -> dict[str, Any]:
        sources = [uploaded(side, salt, "studies") for salt in salts]
        before = set(side.get("/studies"))
        answer = ended(side, side.post(f"/tools/{operation}", {**body, "Resources": sources}))
        # The resources of the answer come in the order of their identifiers.
        told = [sorted(one["Type"] for one in answer["answer"].pop("Resources", []))]
        told.append(sorted(one["Type"] for one in (answer["job"]["Content"] or {}).pop("Resources", [])))
        return {
            **answer,
            "told": told,
            **after(side, salts[0], before),
            "other": after(side, salts[1], before),
        }

    outcome = pair.agree(scenario)
    lineage = "ModifiedFrom" if operation == "bulk-modify" else "AnonymizedFrom"
    assert len(derived(outcome, lineage) + derived({**outcome["other"], "new": []}, lineage)) == 6
    assert len(outcome["left"]) == body.get("KeepSource", True)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_split_studies_are_alike(pair: Pair, keep: bool, asynchronous: bool) -> None:
    salt = f"split-{keep}-{asynchronous}"

    def scenario(side: Side) -> dict[str, Any]:
        source = uploaded(side, salt, "studies")
        before = set(side.get("/studies"))
        body = {"Series": [first(side, salt, "series")], "KeepSource": keep, "Asynchronous": asynchronous}
        answer = side.post(f"/studies/{source}/split", {**body, "Replace": {"PatientName": "SPLIT"}})
        return {**ended(side, answer), **after(side, salt, before)}

    outcome = pair.agree(scenario)
    assert [len(one["instances"]) for one in outcome["new"] + outcome["left"]] == [2, 3 if keep else 1]


@pytest.mark.parametrize("keep", [True, False])
def test_merged_studies_are_alike(pair: Pair, keep: bool) -> None:
    salt, other = f"merge-{keep}", f"merged-{keep}"

    def scenario(side: Side) -> dict[str, Any]:
        target, source = uploaded(side, salt, "studies"), uploaded(side, other, "studies")
        before = set(side.get("/studies"))
        answer = side.post(f"/studies/{target}/merge", {"Resources": [source], "KeepSource": keep})
        return {**ended(side, answer), **after(side, salt, before), "source": after(side, other, before)}

    outcome = pair.agree(scenario)
    assert [len(one["instances"]) for one in outcome["left"]] == [6]
    assert bool(outcome["source"]["left"]) is keep


def test_state_is_mirrored_once_a_study_is_quiet(pair: Pair) -> None:
    """In metadata and labels, and again when the study changes; no job is needed for it."""
    side, jobs = pair.plugin, pair.plugin.get("/jobs")
    study_id = side.upload(map(encoded, study("mirrored")))[0]["ParentStudy"]
    mirrored(side, study_id, {"original": 3})
    for series in side.get(f"/studies/{study_id}")["Series"]:
        assert side.get(f"/series/{series}/labels") == ["provenance-original"]
        for instance in side.get(f"/series/{series}")["Instances"]:
            assert side.bytes(f"/instances/{instance}/metadata/{STATE_METADATA}") == b"original"
            assert side.get(f"/instances/{instance}/labels") == []
    side.upload([encoded(image("CT_small.dcm", "mirrored", 3, ManufacturerModelName="StyleGAN2"))])
    mirrored(side, study_id, {"original": 3, "ai-generated": 1})
    assert side.get("/jobs") == jobs


def mirrored(side: Side, study_id: str, states: dict[str, int]) -> None:
    """Waits until the metadata and labels of a study give these numbers by state."""
    eventually(
        lambda: side.call("GET", f"/studies/{study_id}/metadata/{STATE_METADATA}"),
        lambda answer: answer.ok and answer.json()["states"] == states,
    )
    labels = sorted(f"provenance-{state}" for state in states)
    eventually(lambda: side.get(f"/studies/{study_id}/labels"), lambda found: found == labels)
