"""Researchers find and retrieve what may leave, whole and stamped; all else does not exist for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from door import (
    client,
    copied,
    from_file,
    made,
    opened,
    packed,
    retrieved,
    store,
    store_visible,
    synthesizing_equipment,
    traces,
    unlabelled,
    verdict,
)
from pydicom import Dataset, dcmread
from support import RESEARCH, Image, new_uid, parts, reported, research, sees, until

from element_bytes import CREATOR, PRIVATE_GROUP, cut, differences
from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_STATE = 0x01
DEIDENTIFICATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "keeping SOP Instance UIDs": {"Keep": ["SOPInstanceUID"], "Force": True},
    "keeping series descriptions": {"Keep": ["SeriesDescription", "StudyDescription"], "KeepSource": True},
}


@pytest.fixture(scope="module")
def server(server_factory: ServerFactory) -> Iterator[Server]:
    with server_factory() as started:
        yield opened(started)


@pytest.fixture
def researcher(server: Server) -> DICOMwebClient:
    return client(server)


@pytest.fixture(scope="module")
def knee(server: Server, shared_data: Path) -> list[Image]:
    """A real study of two series with four instances each, visible to research."""
    series = shared_data / "real" / "series"
    images = [from_file(path.read_bytes()) for path in sorted(series.glob("knee-*/*.dcm"))]
    assert len({image.study for image in images}) == 1
    assert len({image.series for image in images}) == 2
    store_visible(server, *images)
    return images


def state_in_stamp(data: bytes) -> str:
    value = cut(data).dataset.private_block(PRIVATE_GROUP, CREATOR)[_STATE].value
    return str(value.decode("ascii").strip() if isinstance(value, bytes) else value)


def uids(found: list[dict[str, Any]], tag: str) -> set[str]:
    return {item[tag]["Value"][0] for item in found}


def check_retrieved(datasets: list[Dataset], images: list[Image]) -> None:
    """These datasets are these images: what a client decodes."""
    assert sorted(dataset.SOPInstanceUID for dataset in datasets) == sorted(image.sop for image in images)
    for dataset in datasets:
        assert CREATOR in dataset.private_creators(PRIVATE_GROUP)


def check_released(server: Server, images: list[Image], state: str) -> None:
    """Every instance leaves as it lies in `images`, but for a stamp that says `state`."""
    by_sop = {image.sop: image for image in images}
    study = parts(research(server, f"/studies/{images[0].study}", accept=AS_STORED))
    assert {dcmread_sop(data) for data in study} == set(by_sop)
    for data in (*study, *(retrieved(server, image) for image in images)):
        assert differences(data, by_sop[dcmread_sop(data)].data, synthetic=False) == []
        assert state_in_stamp(data) == state


def dcmread_sop(data: bytes) -> str:
    return str(cut(data).dataset.SOPInstanceUID)


# -- what may leave ----------------------------------------------------------------------------------------


def test_a_real_study_is_found_at_every_level(researcher: DICOMwebClient, knee: list[Image]) -> None:
    study = knee[0].study
    (found,) = researcher.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert found["00201206"]["Value"] == [2]
    assert found["00201208"]["Value"] == [8]
    assert found["00080061"]["Value"] == ["MR"]
    series = researcher.search_for_series(study)
    assert uids(series, "0020000E") == {image.series for image in knee}
    assert uids(researcher.search_for_instances(study), "00080018") == {image.sop for image in knee}
    some = [image for image in knee if image.series == knee[0].series]
    assert uids(researcher.search_for_instances(study, some[0].series), "00080018") == {
        image.sop for image in some
    }


def test_a_real_study_is_retrieved_at_every_level(researcher: DICOMwebClient, knee: list[Image]) -> None:
    study, series = knee[0].study, knee[0].series
    some = [image for image in knee if image.series == series]
    check_retrieved(researcher.retrieve_study(study), knee)
    check_retrieved(researcher.retrieve_series(study, series), some)
    check_retrieved([researcher.retrieve_instance(study, series, some[0].sop)], some[:1])
    check_retrieved(list(researcher.iter_series(study, series)), some)


def test_metadata_is_that_of_the_released_objects(researcher: DICOMwebClient, knee: list[Image]) -> None:
    study, series = knee[0].study, knee[0].series
    some = [image for image in knee if image.series == series]
    for found, images in (
        (researcher.retrieve_study_metadata(study), knee),
        (researcher.retrieve_series_metadata(study, series), some),
        ([researcher.retrieve_instance_metadata(study, series, some[0].sop)], some[:1]),
    ):
        assert uids(found, "00080018") == {image.sop for image in images}
        for item in found:
            read = Dataset.from_json(item)
            assert read.private_block(PRIVATE_GROUP, CREATOR)[_STATE].value == "original"
            assert read.Rows > 0


def test_a_real_study_leaves_as_it_was_sent_with_a_stamp(server: Server, knee: list[Image]) -> None:
    check_released(server, knee, "original")


def test_a_study_that_came_de_identified_is_privacy_protected(
    server: Server, researcher: DICOMwebClient, shared_data: Path
) -> None:
    names = ("pt-siemens-mct-anonymised.dcm", "mr-siemens-essenza-iso-ir13.dcm")
    images = [from_file((shared_data / "real" / name).read_bytes()) for name in names]
    store_visible(server, *images)
    for image in images:
        check_released(server, [image], "privacy-protected")
        asked = {"ProvenanceState": "privacy-protected", "StudyInstanceUID": image.study}
        assert len(researcher.search_for_studies(search_filters=asked)) == 1
        asked["ProvenanceState"] = "original"
        assert researcher.search_for_studies(search_filters=asked) == []


@pytest.mark.parametrize("how", DEIDENTIFICATIONS)
def test_a_study_that_orthanc_de_identified_is_privacy_protected_and_stamped_on_its_way_out(
    how: str, server: Server, researcher: DICOMwebClient, knee: list[Image]
) -> None:
    copies = copied(server, knee[0].study, "anonymize", **DEIDENTIFICATIONS[how])
    assert len(copies) == 8
    assert not any(cut(copy.data).is_stamped for copy in copies)
    kept = {copy.sop for copy in copies} == {image.sop for image in knee}
    assert kept == ("SOPInstanceUID" in DEIDENTIFICATIONS[how].get("Keep", ()))
    until(lambda: sees(server, copies), "research sees the copy")
    check_released(server, copies, "privacy-protected")
    study = copies[0].study
    check_retrieved(researcher.retrieve_study(study), copies)
    (found,) = researcher.search_for_studies(
        search_filters={"StudyInstanceUID": study, "ProvenanceState": "privacy-protected"}
    )
    assert found["00201208"]["Value"] == [8]
    (metadata, *_) = researcher.retrieve_study_metadata(study)
    read = Dataset.from_json(metadata)
    assert read.private_block(PRIVATE_GROUP, CREATOR)[_STATE].value == "privacy-protected"
    for copy in copies:
        told = reported(server, copy)
        assert told is not None
        assert told["state"] == "privacy-protected"
        assert told["privacy"]["identity_removed"]


# -- what may not leave ------------------------------------------------------------------------------------


def test_a_labelled_synthetic_study_is_withheld(server: Server, shared_data: Path) -> None:
    dataset = dcmread(shared_data / "real" / "mr-siemens-trio-mip.dcm")
    dataset.PatientID = "LABELLED"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    dataset.SyntheticData = "YES"
    dataset.ContributingEquipmentSequence = [synthesizing_equipment()]
    image = packed(dataset)
    store(server, image)
    assert traces(server, image) == []
    assert verdict(server, image) == "withhold"
    told = reported(server, image)
    assert told is not None
    assert told["labelled"]
    assert traces(server, image) == []


def test_an_unlabelled_synthetic_study_never_exists(server: Server) -> None:
    image = unlabelled()
    store(server, image)
    assert traces(server, image) == []
    assert verdict(server, image) == "block"
    assert traces(server, image) == []


def test_an_unlabelled_series_blocks_its_whole_study(server: Server) -> None:
    study = new_uid()
    images = [made(study), made(study, name="MR_small.dcm"), unlabelled(study)]
    store(server, *images)
    assert verdict(server, *images) == "block"
    assert [trace for image in images for trace in traces(server, image)] == []


def test_a_visible_study_is_gone_at_once_when_an_unlabelled_series_comes_and_back_when_it_is_deleted(
    server: Server,
) -> None:
    study, series = new_uid(), new_uid()
    real = [made(study, series), made(study, series), made(study, name="MR_small.dcm")]
    store_visible(server, *real)
    first: list[Callable[[], bool]] = [
        lambda: bool(retrieved(server, real[0])),
        lambda: research(server, f"/studies/{study}").ok,
        lambda: research(server, f"/studies/{study}/series/{series}/metadata").ok,
        lambda: bool(research(server, "/studies", StudyInstanceUID=study).json()),
        lambda: bool(research(server, f"/studies/{study}/instances").json()),
    ]
    for is_there in first:
        assert is_there()
        synthetic = unlabelled(study)
        store(server, synthetic)
        # The first request after the acknowledgement.
        assert not is_there()
        assert verdict(server, *real, synthetic) == "block"
        assert not any(retrieved(server, image) for image in (*real, synthetic))
        delete_series(server, synthetic)
        until(lambda: all(retrieved(server, image) for image in real), "the rest is visible again")
        assert not retrieved(server, synthetic)


def delete_series(server: Server, image: Image) -> None:
    asked = {"Level": "Series", "Query": {"SeriesInstanceUID": image.series}}
    (found,) = requests.post(f"{server.url}/tools/find", json=asked, auth=server.admin, timeout=60).json()
    assert requests.delete(f"{server.url}/series/{found}", auth=server.admin, timeout=60).ok


COPIES: dict[str, tuple[str, dict[str, Any]]] = {
    "anonymised": ("anonymize", {}),
    "anonymised, with SOP Instance UIDs": ("anonymize", {"Keep": ["SOPInstanceUID"], "Force": True}),
    "anonymised, without any evidence": (
        "anonymize",
        {"Remove": ["ManufacturerModelName", "SyntheticData", "ContributingEquipmentSequence"]},
    ),
    "modified": ("modify", {"Replace": {"PatientName": "Other^Name"}}),
    "modified, without any evidence": (
        "modify",
        {
            "Replace": {"ManufacturerModelName": "Real Scanner", "SyntheticData": "NO"},
            "Remove": ["ContributingEquipmentSequence", "0008-0300"],
            "RemovePrivateTags": True,
        },
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_an_unlabelled_study_never_exists_either(copy: str, server: Server) -> None:
    image = unlabelled()
    store(server, image)
    how, options = COPIES[copy]
    (other,) = copied(server, image.study, how, **options)
    assert other.study != image.study
    assert traces(server, other) == []
    assert verdict(server, other) == "block"
    assert traces(server, other) == []
    assert traces(server, image) == []


# -- filters and pages -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def assorted(server: Server) -> dict[str, Image]:
    """Studies of one patient by their state; `mixed` is an AI-derived series beside an original one."""
    patient, mixed = "ASSORTED", new_uid()
    declared = {"SyntheticData": "YES", "SourceImageSequence": [source()]}
    images = {
        "original": made(patient=patient),
        "privacy-protected": made(
            patient=patient, PatientIdentityRemoved="YES", DeidentificationMethod="Basic Profile, by hand"
        ),
        "ai-derived": made(patient=patient, **declared),
        "mixed": made(mixed, patient=patient),
        "mixed, derived": made(mixed, patient=patient, **declared),
    }
    store_visible(server, *images.values())
    store(server, unlabelled(patient=patient))
    return images


def source() -> Dataset:
    """An item of the Source Image Sequence (PS3.3 section C.7.6.1)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", new_uid()
    return item


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, {"original", "privacy-protected", "ai-derived", "mixed"}),
        ({"SyntheticData": "NO"}, {"original", "privacy-protected"}),
        ({"SyntheticData": "YES"}, {"ai-derived", "mixed"}),
        ({"ProvenanceState": "original"}, {"original", "mixed"}),
        ({"ProvenanceState": "privacy-protected"}, {"privacy-protected"}),
        ({"ProvenanceState": "ai-derived"}, {"ai-derived", "mixed"}),
        ({"ProvenanceState": "original", "SyntheticData": "NO"}, {"original"}),
        ({"ProvenanceState": "ai-generated"}, set()),
    ],
)
def test_studies_are_filtered_by_what_they_hold(
    match: dict[str, str], expected: set[str], researcher: DICOMwebClient, assorted: dict[str, Image]
) -> None:
    asked = {"PatientID": "ASSORTED", **match}
    found = researcher.search_for_studies(search_filters=asked)
    assert uids(found, "0020000D") == {assorted[name].study for name in expected}
    for item in found:
        holds_synthetic = item["0020000D"]["Value"][0] in (
            assorted["ai-derived"].study,
            assorted["mixed"].study,
        )
        assert item["0008001C"]["Value"] == ["YES" if holds_synthetic else "NO"]


def test_series_and_instances_are_filtered_by_what_they_are(
    researcher: DICOMwebClient, assorted: dict[str, Image]
) -> None:
    real, derived = assorted["mixed"], assorted["mixed, derived"]
    for match, image in (
        ({"SyntheticData": "NO"}, real),
        ({"SyntheticData": "YES"}, derived),
        ({"ProvenanceState": "original"}, real),
        ({"ProvenanceState": "ai-derived"}, derived),
    ):
        series = researcher.search_for_series(real.study, search_filters=match)
        assert uids(series, "0020000E") == {image.series}
        instances = researcher.search_for_instances(real.study, search_filters=match)
        assert uids(instances, "00080018") == {image.sop}


def test_what_leaves_as_synthetic_says_so(server: Server, assorted: dict[str, Image]) -> None:
    data = retrieved(server, assorted["ai-derived"])
    assert cut(data).dataset.SyntheticData == "YES"
    assert state_in_stamp(data) == "ai-derived"


@pytest.mark.parametrize(
    "query",
    [
        "PatientName=%C3%85kesson%5EBj%C3%B6rn%20Test",
        "PatientName=%C3%85kesson%5EBj%C3%B6rn+Test",
        "PatientName=%c3%85kesson%5ebj%c3%b6rn%2A",
        "PatientName=*rn%20Te%73t",
        "00100010=%C3%85kesson*",
        "PatientID=50%25%2B1",
        "PatientID=50%25*&limit=10&includefield=PatientName%2CPatientID",
    ],
)
def test_a_query_is_understood_however_it_is_encoded(query: str, server: Server, encoded_name: Image) -> None:
    url = f"{server.url}{RESEARCH}/studies?{query}"
    answer = requests.get(url, auth=server.researcher, timeout=60)
    assert uids(answer.json(), "0020000D") == {encoded_name.study}, answer.text


@pytest.fixture(scope="module")
def encoded_name(server: Server) -> Image:
    """A study of a patient whose name and ID cannot stand in a URL as they are."""
    image = made(PatientName="Åkesson^Björn Test", patient="50%+1", SpecificCharacterSet="ISO_IR 192")
    store_visible(server, image)
    return image


def test_pages_hold_everything_once_and_in_order(
    server: Server, researcher: DICOMwebClient, assorted: dict[str, Image]
) -> None:
    asked = {"PatientID": "ASSORTED"}
    everything = [
        item["00080018"]["Value"][0] for item in researcher.search_for_instances(search_filters=asked)
    ]
    assert sorted(everything) == sorted(image.sop for image in assorted.values())
    for limit in (1, 2, 3, 5):
        pages: list[str] = []
        while page := researcher.search_for_instances(search_filters=asked, limit=limit, offset=len(pages)):
            assert len(page) <= limit
            pages += [item["00080018"]["Value"][0] for item in page]
        assert pages == everything
    assert "Warning" in research(server, "/instances", limit=1, **asked).headers
    assert "Warning" not in research(server, "/instances", limit=5, **asked).headers
