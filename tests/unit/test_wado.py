"""Retrieving over DICOMweb: what arrives is what is released, stamped, one instance after the other."""

from __future__ import annotations

import email
import email.policy
import threading
import tracemalloc
from io import BytesIO

import pydicom
import pytest
from archive_fixture import (
    INVISIBLE,
    NON_IMAGE,
    ORIGINAL,
    UNLABELLED,
    VISIBLE,
    Archive,
    make_record,
)
from dicom_samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, encode, image
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset
from werkzeug.test import TestResponse

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.doors.leaving import Leaving
from orthanc_provenance.errors import IndexUnavailable, Withdrawn
from orthanc_provenance.index.writer import Put
from orthanc_provenance.stamp.block import read_stamp

MULTIPART = 'multipart/related; type="application/dicom"'
STUDY, SERIES, SOP = "1.2.1", "1.2.1.1", "1.2.1.1.1"
LEVELS = (
    f"/studies/{STUDY}",
    f"/studies/{STUDY}/series/{SERIES}",
    f"/studies/{STUDY}/series/{SERIES}/instances/{SOP}",
)
COUNTS = (3, 2, 1)


def split(response: TestResponse) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer, media type and content, each cut out by its stated length."""
    assert response.status_code == 200, response.text
    head = f"Content-Type: {response.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.data, policy=email.policy.HTTP)
    assert message.is_multipart()
    assert not message.defects
    boundary, contents, rest = message.get_boundary(), [], response.data
    for _ in message.iter_parts():
        before, _, rest = rest.partition(f"--{boundary}\r\n".encode())
        assert before == b"\r\n"
        fields, _, rest = rest.partition(b"\r\n\r\n")
        named = dict(line.split(": ", 1) for line in fields.decode().split("\r\n"))
        size = int(named["Content-Length"])
        contents.append((named["Content-Type"], rest[:size]))
        rest = rest[size:]
    assert rest == f"\r\n--{boundary}--\r\n".encode()
    return contents


def objects(response: TestResponse) -> list[Dataset]:
    return [pydicom.dcmread(BytesIO(data)) for _, data in split(response)]


@pytest.mark.parametrize(("path", "count"), tuple(zip(LEVELS, COUNTS, strict=True)))
@pytest.mark.parametrize(
    "accept",
    [MULTIPART, f"{MULTIPART}; transfer-syntax=*", "*/*", "multipart/related; type=application/dicom"],
)
def test_instances_come_as_the_parts_of_one_message(
    filled: Archive, path: str, count: int, accept: str
) -> None:
    response = filled.get(path, Accept=accept)
    assert response.content_type.startswith('multipart/related; type="application/dicom"; boundary=')
    parts = split(response)
    assert {media_type for media_type, _ in parts} == {f"application/dicom; transfer-syntax={EXPLICIT}"}
    found = [pydicom.dcmread(BytesIO(data)) for _, data in parts]
    assert len({one.SOPInstanceUID for one in found}) == count == len(found)
    assert {one.StudyInstanceUID for one in found} == {STUDY}
    assert all(one.PixelData == bytes(range(16)) for one in found)


def test_what_leaves_is_stamped(filled: Archive) -> None:
    found = [read_stamp(read_header(data)) for _, data in split(filled.get("/studies/1.2.3"))]
    assert [one and one.state for one in found] == ["original", "ai-derived"]


def test_of_a_study_only_what_is_released_leaves(filled: Archive) -> None:
    for study in sorted({item["StudyInstanceUID"] for item in VISIBLE}):
        left = sorted(one.SOPInstanceUID for one in objects(filled.get(f"/studies/{study}")))
        assert left == sorted(item["SOPInstanceUID"] for item in VISIBLE if item["StudyInstanceUID"] == study)


@pytest.mark.parametrize("suffix", ["", "/metadata"])
def test_what_is_hidden_answers_exactly_as_what_never_was(filled: Archive, suffix: str) -> None:
    never = filled.get(f"/studies/9.9/series/9.9.9/instances/9.9.9.9{suffix}")
    assert never.status_code == 404
    for item in INVISIBLE:
        study, series, sop = item["StudyInstanceUID"], item["SeriesInstanceUID"], item["SOPInstanceUID"]
        paths = [f"/studies/{study}/series/{series}", f"/studies/{study}/series/{series}/instances/{sop}"]
        if study not in {other["StudyInstanceUID"] for other in VISIBLE}:
            paths.append(f"/studies/{study}")
        for path in paths:
            hidden = filled.get(path + suffix)
            assert (hidden.status, hidden.data, list(hidden.headers)) == (
                never.status,
                never.data,
                list(never.headers),
            )


def test_uids_must_belong_together(filled: Archive) -> None:
    assert filled.get("/studies/1.2.2/series/1.2.1.1").status_code == 404
    assert filled.get("/studies/1.2.1/series/1.2.1.2/instances/1.2.1.1.1").status_code == 404


@pytest.mark.parametrize(
    "path", ["/studies/1.2.x", "/studies/1.2.1/series/a", f"/studies/{'1' * 65}/metadata"]
)
def test_what_is_no_uid_is_refused(filled: Archive, path: str) -> None:
    assert filled.get(path).status_code == 400


def test_one_instance_may_come_alone(filled: Archive) -> None:
    response = filled.get(LEVELS[2], Accept="application/dicom")
    assert response.content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert pydicom.dcmread(BytesIO(response.data)).SOPInstanceUID == SOP


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (LEVELS[0], "application/dicom"),
        (LEVELS[1], "application/dicom"),
        (LEVELS[0], "application/dicom+json"),
        (LEVELS[2], 'multipart/related; type="image/jpeg"'),
        (LEVELS[2], "image/png"),
        (LEVELS[2], f"{MULTIPART};q=0"),
        (LEVELS[2], f"{MULTIPART}; transfer-syntax={IMPLICIT}"),
        (f"{LEVELS[0]}/metadata", MULTIPART),
    ],
)
def test_what_is_not_offered_is_not_acceptable(filled: Archive, path: str, accept: str) -> None:
    response = filled.get(path, Accept=accept)
    assert response.status_code == 406
    assert (
        "application/dicom" in response.get_json()["error"]
        or "transfer syntax" in response.get_json()["error"]
    )


def test_the_stored_transfer_syntax_may_be_asked_for(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", syntax=EXPLICIT)
    archive.put("1.2", "1.2.1", "1.2.1.2", syntax=BIG_ENDIAN)
    archive.flush()
    both = f"{MULTIPART}; transfer-syntax={EXPLICIT}, {MULTIPART}; transfer-syntax={BIG_ENDIAN}"
    assert len(objects(archive.get("/studies/1.2", Accept=both))) == 2
    one = archive.get("/studies/1.2", Accept=f"{MULTIPART}; transfer-syntax={EXPLICIT}")
    assert one.status_code == 406
    assert BIG_ENDIAN in one.get_json()["error"]
    alone = "/studies/1.2/series/1.2.1/instances/1.2.1.2"
    assert archive.get(alone, Accept=f"{MULTIPART}; transfer-syntax={BIG_ENDIAN}").status_code == 200


def test_an_answer_breaks_off_where_an_instance_closes_in_mid_stream(archive: Archive) -> None:
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in (1, 2, 3)]
    archive.flush()
    second = make_record(archive.stored[ids[1]], ORIGINAL)

    def close(instance: str) -> None:
        if instance == ids[0]:
            archive.pending.announce(second, thread=1, closes_study=False)

    archive.on_read = close
    with pytest.raises(Withdrawn):
        archive.get("/studies/1.2").get_data()


def test_what_closes_before_anything_is_sent_is_left_out(archive: Archive) -> None:
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in (1, 2, 3)]
    archive.flush()
    first = make_record(archive.stored[ids[0]], ORIGINAL)

    def close(instance: str) -> None:
        if instance == ids[0]:
            archive.pending.announce(first, thread=1, closes_study=False)

    archive.on_read = close
    assert [one.SOPInstanceUID for one in objects(archive.get("/studies/1.2"))] == ["1.2.1.2", "1.2.1.3"]


@pytest.mark.parametrize("is_written", [False, True])
def test_nothing_leaves_a_study_that_was_blocked_while_the_client_took_its_time(
    archive: Archive, is_written: bool
) -> None:
    for number in range(8):
        archive.put("1.2", "1.2.1", f"1.2.1.{number}")
    archive.flush()
    leaving = Leaving(archive.services, archive.gate.view(archive.routes[0]), ("1.2", "", ""))
    answer = leaving.instances()
    next(answer)
    next(answer)
    # All eight are read by now, and the decision is fresh.
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.2", "SOPInstanceUID": "1.2.2.1"}
    arriving = encode(image(**uids))
    archive.pending.announce(make_record(arriving, UNLABELLED), thread=1, closes_study=True)
    if is_written:
        instance = archive.put_bytes(arriving, UNLABELLED)
        archive.flush()
        archive.pending.written([(instance, 1)])
        assert not archive.pending.closed_studies()

    with pytest.raises(Withdrawn):
        next(answer)


def test_a_verdict_that_changed_otherwise_is_noticed_a_moment_later(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orthanc_provenance.gate._FRESH_SECONDS", 0.0)
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in range(8)]
    archive.flush()
    leaving = Leaving(archive.services, archive.gate.view(archive.routes[0]), ("1.2", "", ""))
    answer = leaving.instances()
    next(answer)
    archive.writer.submit(Put(make_record(archive.stored[ids[7]], UNLABELLED)))
    archive.flush()

    with pytest.raises(Withdrawn):
        next(answer)


def test_an_instance_replaced_while_it_is_read_is_left_out(archive: Archive) -> None:
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in (1, 2)]
    archive.flush()

    def replace(instance: str) -> None:
        if instance == ids[0]:
            archive.writer.submit(Put(make_record(archive.stored[instance], UNLABELLED)))
            archive.flush()

    archive.on_read = replace
    assert archive.get("/studies/1.2").status_code == 404


def test_an_instance_that_the_archive_lost_is_left_out(archive: Archive) -> None:
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in (1, 2)]
    archive.flush()
    del archive.stored[ids[0]]
    assert [one.SOPInstanceUID for one in objects(archive.get("/studies/1.2"))] == ["1.2.1.2"]
    del archive.stored[ids[1]]
    assert archive.get("/studies/1.2").status_code == 404


def test_an_object_that_takes_no_stamp_stays_in(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    instance = archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    # The archive holds another object than the one that was assessed: it has no file meta information.
    stored = archive.stored[instance]
    archive.stored[instance] = stored[read_header(stored).dataset_start :]
    assert archive.get("/studies/1.2").status_code == 404
    assert "1.2.1.1 stays in" in caplog.text


@pytest.mark.parametrize("suffix", ["", "/metadata"])
def test_research_that_closes_in_mid_stream_breaks_the_answer(archive: Archive, suffix: str) -> None:
    # More than are read before the first is sent.
    for number in range(1, 7):
        archive.put("1.2", "1.2.1", f"1.2.1.{number}")
    archive.flush()
    read: list[str] = []
    begun = threading.Event()

    def fail(instance: str) -> None:
        read.append(instance)
        if len(read) == 6:
            begun.wait(10)
            archive.writer.failure = "the disk is full"

    archive.on_read = fail
    response = archive.client.get(
        f"/research/dicom-web/studies/1.2{suffix}",
        environ_overrides={"REMOTE_USER": "researcher"},
        buffered=False,
    )
    assert response.status_code == 200
    parts = iter(response.response)
    received = [next(parts)]
    begun.set()
    with pytest.raises(IndexUnavailable):
        received.extend(parts)
    assert not b"".join(received).endswith((b"--\r\n", b"]"))


@pytest.mark.parametrize("suffix", ["", "/metadata"])
def test_research_that_is_closed_already_says_so_in_the_status(archive: Archive, suffix: str) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()

    def fail(_instance: str) -> None:
        archive.writer.failure = "the disk is full"

    archive.on_read = fail
    assert archive.get(f"/studies/1.2{suffix}").status_code == 503


def test_few_instances_are_in_memory_at_a_time(archive: Archive) -> None:
    size, count = 2_000_000, 50
    ids = [archive.put("1.2", "1.2.1", f"1.2.1.{number}") for number in range(count)]
    archive.flush()
    small = dict(archive.stored)

    def read(instance: str) -> bytes:
        # Pixels are the last element: a private one behind them makes the object large without touching them.
        dataset = pydicom.dcmread(BytesIO(small[instance]))
        dataset.add_new(0x7FE10010, "LO", "TEST")
        dataset.add_new(0x7FE11001, "OB", bytes(size))
        out = BytesIO()
        dataset.save_as(out)
        return out.getvalue()

    archive.stored = _Made(dict.fromkeys(ids, read))  # type: ignore[assignment]
    response = archive.client.get(
        "/research/dicom-web/studies/1.2", environ_overrides={"REMOTE_USER": "researcher"}, buffered=False
    )
    tracemalloc.start()
    sent = sum(len(chunk) for chunk in response.response)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent > (count - 1) * size
    # Two batches and what waits between them, whatever the number of objects.
    assert peak < 35_000_000 < sent / 2


class _Made(dict):  # type: ignore[type-arg]
    def __getitem__(self, instance: str) -> bytes:
        return super().__getitem__(instance)(instance)  # type: ignore[no-any-return]


def test_objects_without_pixels_leave_with_their_study(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.put("1.2", "1.2.2", "1.2.2.1", NON_IMAGE)
    archive.flush()
    assert len(objects(archive.get("/studies/1.2"))) == 2
    archive.put("1.2", "1.2.3", "1.2.3.1", UNLABELLED)
    archive.flush()
    assert archive.get("/studies/1.2").status_code == 404


@pytest.mark.parametrize(("path", "count"), tuple(zip(LEVELS, COUNTS, strict=True)))
def test_metadata_is_the_stamped_object_without_its_pixels(filled: Archive, path: str, count: int) -> None:
    response = filled.get(f"{path}/metadata", Accept="application/dicom+json")
    assert response.content_type == "application/dicom+json"
    found = [Dataset.from_json(item, lambda _uri: b"") for item in response.get_json(force=True)]
    assert [one.SOPInstanceUID for one in found] == [one.SOPInstanceUID for one in objects(filled.get(path))]
    assert len(found) == count
    for item, one in zip(response.get_json(force=True), found, strict=True):
        assert item["7FE00010"].keys() == {"vr", "BulkDataURI"}
        assert one.PatientName == "Doe^John"
        assert one.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109103"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/studies", f"/studies/{STUDY}", LEVELS[2], "/nothing"])
def test_nothing_can_be_changed_here(filled: Archive, method: str, path: str) -> None:
    response = filled.get(path, method=method)
    assert response.status_code == 405
    assert response.get_json()["status"] == 405
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/studies/",
            "//research/dicom-web//studies",
            "/Studies",
            "/studies/1.2.1/series/1.2.1.1/",
        ),
        *(f"{LEVELS[2]}/{name}" for name in ("frames", "frames/", "bulkdata", "rendered/1", "pixels")),
        "/workitems",
        "/studies/1.2.1/../1.2.2",
    ],
)
def test_whatever_else_is_below_the_root_does_not_exist(filled: Archive, path: str) -> None:
    response = filled.get(path)
    assert response.status_code == 404
    assert set(response.get_json()) == {"error", "status"}


@pytest.mark.parametrize("path", ["/studies", *LEVELS, f"{LEVELS[0]}/metadata", "/studies/9.9"])
def test_head_answers_as_get_without_a_body(filled: Archive, path: str) -> None:
    head, get = filled.get(path, method="HEAD"), filled.get(path)
    assert head.status_code == get.status_code
    assert head.data == b""
    assert head.content_type.partition("boundary")[0] == get.content_type.partition("boundary")[0]


def test_the_usual_client_reads_what_it_retrieves(filled: Archive, live: str) -> None:
    client = DICOMwebClient(live)
    assert {one.SOPInstanceUID for one in client.retrieve_study(STUDY)} == {
        "1.2.1.1.1",
        "1.2.1.1.2",
        "1.2.1.2.1",
    }
    assert len(list(client.iter_series(STUDY, SERIES))) == 2
    assert client.retrieve_instance(STUDY, SERIES, SOP).SOPInstanceUID == SOP
    anything = client.retrieve_instance(STUDY, SERIES, SOP, media_types=(("application/dicom", "*"),))
    assert anything.SOPInstanceUID == SOP
    assert len(client.retrieve_study_metadata(STUDY)) == 3
