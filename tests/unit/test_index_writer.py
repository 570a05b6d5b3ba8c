"""The writer: what it writes can be asked, what it cannot write closes research until it is made up for."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from archive_fixture import (
    LABELLED,
    NON_IMAGE,
    ORIGINAL,
    PROTECTED,
    UNDETERMINED,
    UNLABELLED,
    Archive,
    make_record,
)
from dicom_samples import encode, image
from sqlalchemy import delete, select, text, update

from orthanc_provenance.config import Route
from orthanc_provenance.doors.tokens import Tokens
from orthanc_provenance.errors import IndexUnavailable
from orthanc_provenance.index import writer as writer_module
from orthanc_provenance.index.query import Level, Query
from orthanc_provenance.index.rows import read_assessment
from orthanc_provenance.index.schema import (
    facts,
    instances,
    released_series,
    series,
    studies,
    verdicts,
)
from orthanc_provenance.index.writer import Fact, Put, Remove, Writer
from orthanc_provenance.model import Modifier


def count(archive: Archive, table: object) -> int:
    with archive.engine.connect() as connection:
        return len(connection.execute(select(table)).all())  # type: ignore[call-overload]


def released(archive: Archive, study: str) -> list[str]:
    return [one.sop_uid for one in archive.gate.view(archive.routes[0]).released(study)]


def break_writes(archive: Archive) -> None:
    """The database takes no instance any more, as when the disk is full."""
    with archive.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON instances BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
            )
        )


def mend_writes(archive: Archive) -> None:
    with archive.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))


def wait_until_open(archive: Archive) -> None:
    opened = threading.Event()
    for _ in range(200):
        if not archive.writer.failure:
            return
        opened.wait(0.05)
    pytest.fail(f"the index did not open again: {archive.writer.failure}")


def test_an_assessment_is_read_as_it_was_written(archive: Archive) -> None:
    rich = replace(PROTECTED, modifiers=(Modifier.PHANTOM, Modifier.CONVERTED), reason="", labelled=True)
    instance = archive.put("1.2", "1.2.1", "1.2.1.1", rich)
    archive.flush()
    row = archive.gate.view(archive.routes[0])._search.assessed([instance]).get(instance)
    assert row is not None
    assert read_assessment(row) == rich


def test_an_instance_that_comes_again_replaces_its_row(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", UNLABELLED)
    archive.flush()
    assert released(archive, "1.2") == []
    archive.put("1.2", "1.2.1", "1.2.1.1", ORIGINAL)
    archive.flush()
    assert count(archive, instances) == 1
    assert released(archive, "1.2") == ["1.2.1.1"]


def test_attributes_of_a_study_are_those_of_its_first_instance(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", StudyDescription="first")
    archive.put("1.2", "1.2.1", "1.2.1.2", StudyDescription="second")
    archive.flush()
    (row,) = archive.gate.view(archive.routes[0]).find(Query(Level.STUDY))
    assert row["StudyDescription"] == "first"


def test_removal_takes_what_is_empty_with_it_and_decides_anew(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    synthetic = archive.put("1.2", "1.2.2", "1.2.2.1", UNLABELLED)
    archive.flush()
    assert released(archive, "1.2") == []
    archive.remove(synthetic)
    assert released(archive, "1.2") == ["1.2.1.1"]
    assert (count(archive, studies), count(archive, series), count(archive, verdicts)) == (1, 1, 1)
    archive.remove(*archive.stored, "no-such-instance")
    assert (count(archive, studies), count(archive, series), count(archive, verdicts)) == (0, 0, 0)


def test_studies_that_share_their_uid_are_decided_as_one(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", PatientID="A")
    archive.flush()
    assert released(archive, "1.2") == ["1.2.1.1"]
    blocking = archive.put("1.2", "1.2.2", "1.2.2.1", UNLABELLED, PatientID="B")
    archive.flush()
    assert count(archive, studies) == 2
    assert released(archive, "1.2") == []
    archive.remove(blocking)
    assert released(archive, "1.2") == ["1.2.1.1"]


def test_routes_are_decided_each_by_its_own_policy(tmp_path: Path) -> None:
    routes = (
        Route(),
        Route(name="open", dicom_web_root="/open", allow_undetermined=True),
        Route(name="strict", dicom_web_root="/strict", require_identity_removed=True),
    )
    with Archive(tmp_path, routes) as archive:
        archive.put("1.1", "1.1.1", "1.1.1.1", UNDETERMINED)
        archive.put("1.2", "1.2.1", "1.2.1.1", ORIGINAL)
        archive.put("1.3", "1.3.1", "1.3.1.1", PROTECTED)
        archive.flush()
        found = {
            route.name: [row["StudyInstanceUID"] for row in archive.gate.view(route).find(Query(Level.STUDY))]
            for route in routes
        }
    assert found == {"research": ["1.2", "1.3"], "open": ["1.1", "1.2", "1.3"], "strict": ["1.3"]}


def test_a_changed_policy_decides_everything_anew(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.put("1.2", "1.2.1", "1.2.1.1", UNDETERMINED)
        archive.put("1.3", "1.3.1", "1.3.1.1", ORIGINAL)
        archive.flush()
        assert released(archive, "1.2") == []
    with Archive(tmp_path, (Route(allow_undetermined=True),)) as archive:
        assert released(archive, "1.2") == ["1.2.1.1"]
    with Archive(tmp_path, (Route(require_identity_removed=True),)) as archive:
        assert released(archive, "1.2") == released(archive, "1.3") == []
        assert count(archive, verdicts) == 2


def test_an_unchanged_policy_leaves_verdicts_alone(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.put("1.2", "1.2.1", "1.2.1.1")
        archive.flush()
        with archive.engine.begin() as connection:
            connection.execute(verdicts.update().values(reasons=["untouched"]))
    with Archive(tmp_path) as archive, archive.engine.connect() as connection:
        assert connection.execute(select(verdicts.c.reasons)).scalar() == ["untouched"]


def test_a_write_that_fails_closes_research_and_is_noted_as_lost(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    view = archive.gate.view(archive.routes[0])
    break_writes(archive)
    lost = archive.put("1.2", "1.2.1", "1.2.1.2")
    archive.pending.stored(lost, thread=1)
    assert not archive.writer.flush()
    assert "disk is full" in archive.writer.failure
    assert archive.writer.lost.is_set()
    with pytest.raises(IndexUnavailable, match="disk is full"):
        archive.gate.view(archive.routes[0])
    with pytest.raises(IndexUnavailable):
        view.released("1.2")
    assert archive.pending.instances() == {lost}


def test_a_batch_that_fails_leaves_nothing_half_written(archive: Archive) -> None:
    break_writes(archive)
    archive.put("1.2", "1.2.1", "1.2.1.1")
    assert not archive.writer.flush()
    assert (count(archive, studies), count(archive, series), count(archive, instances)) == (0, 0, 0)


def test_what_was_lost_stays_out_of_research_after_the_index_is_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_SECONDS", 0.05)
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    break_writes(archive)
    lost = archive.put("1.2", "1.2.1", "1.2.1.2")
    archive.pending.stored(lost, thread=1)
    assert not archive.writer.flush()
    mend_writes(archive)
    wait_until_open(archive)
    assert released(archive, "1.2") == ["1.2.1.1"]
    assert archive.writer.lost.is_set()
    number = archive.pending.reading(lost)
    archive.writer.submit(Put(make_record(archive.stored[lost], ORIGINAL), number))
    archive.flush()
    assert released(archive, "1.2") == ["1.2.1.1", "1.2.1.2"]
    assert archive.pending.instances() == set()


def test_an_index_that_cannot_be_opened_keeps_research_closed_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_SECONDS", 0.05)
    file = tmp_path / "provenance.db"
    file.write_bytes(b"this is no database " * 100)
    with Archive(tmp_path) as archive:
        assert "provenance.db" in archive.writer.failure
        assert archive.get("/studies").status_code == 503
        assert not archive.writer.flush()
        file.unlink()
        wait_until_open(archive)
        assert archive.get("/studies").status_code == 200


def test_a_writer_that_has_not_started_or_has_ended_keeps_research_closed(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.writer.failure
    archive.writer.start()
    assert archive.writer.failure == ""
    archive.writer.stop()
    assert archive.writer.failure


def test_a_full_queue_loses_the_operation_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_CAPACITY", 1)
    archive = Archive(tmp_path)
    archive.writer.submit(Fact("a", "1"))
    assert not archive.writer.lost.is_set()
    archive.writer.submit(Fact("b", "2"))
    assert archive.writer.lost.is_set()
    archive.engine.dispose()


def test_what_is_queued_is_written_before_the_writer_ends(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        for number in range(500):
            archive.put("1.2", "1.2.1", f"1.2.1.{number}")
    with Archive(tmp_path) as archive:
        assert len(released(archive, "1.2")) == 500


def test_facts_are_remembered_by_their_last_value(archive: Archive) -> None:
    archive.writer.submit(Fact("colour", "red"))
    archive.writer.submit(Fact("colour", "blue"))
    archive.flush()
    with archive.engine.connect() as connection:
        assert connection.execute(select(facts.c.value).where(facts.c.name == "colour")).scalars().all() == [
            "blue"
        ]


def test_those_who_listen_hear_what_is_written_and_which_studies_changed(tmp_path: Path) -> None:
    heard: list[tuple[list[tuple[str, int]], set[str]]] = []
    archive = Archive(tmp_path)
    archive.writer = Writer(archive.engine, archive.routes, lambda *what: heard.append(what))
    with archive:
        instance = archive.put("1.2", "1.2.1", "1.2.1.1", LABELLED)
        archive.flush()
        study = make_record(archive.stored[instance], LABELLED).identifiers.study
        written = [one for instances_, _ in heard for one in instances_]
        assert written == [(instance, 0)]
        assert {one for _, touched in heard for one in touched} == {study}
        heard.clear()
        archive.remove(instance)
        assert [touched for _, touched in heard] == [{study}]


def test_a_listener_hears_only_of_what_can_be_asked_already(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    seen: list[int] = []
    archive.writer = Writer(archive.engine, archive.routes, lambda *_: seen.append(count(archive, instances)))
    with archive:
        data = encode(image(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", SOPInstanceUID="1.2.1.1"))
        archive.writer.submit(Put(make_record(data, NON_IMAGE)))
        archive.flush()
    assert seen == [1]


def test_what_stays_of_a_study_leaves_again_only_once_it_was_compared_with_the_archive(
    archive: Archive,
) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    gone = archive.put("1.2", "1.2.2", "1.2.2.1")
    archive.flush()
    archive.writer.submit(Remove((gone,)))
    archive.writer.flush()

    assert released(archive, "1.2") == []


def test_an_instance_that_was_changed_in_place_shows_its_new_attributes(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", PatientName="Old^Name")
    archive.flush()
    archive.put("1.2", "1.2.1", "1.2.1.1", PatientName="New^Name")
    archive.flush()

    (row,) = archive.gate.view(Route()).find(Query(Level.STUDY))
    assert row["PatientName"] == "New^Name"
    assert archive.gate.view(Route()).find(Query(Level.STUDY, {"PatientName": "NEW*"}))


def test_a_tentative_record_never_takes_the_place_of_a_row(tmp_path: Path) -> None:
    doubted: list[str] = []
    with Archive(tmp_path) as archive:
        kept = archive.put("1.2", "1.2.1", "1.2.1.1", UNLABELLED)
        archive.flush()
    writer = Writer(archive.engine, archive.routes, lambda written, _: ins.extend(written), doubted.append)
    ins: list[tuple[str, int]] = []
    writer.start()
    new = encode(image(StudyInstanceUID="1.3", SeriesInstanceUID="1.3.1", SOPInstanceUID="1.3.1.1"))
    writer.submit(Put(make_record(archive.stored[kept], ORIGINAL), 7, tentative=True))
    writer.submit(Put(make_record(new, ORIGINAL), 8, tentative=True))
    assert writer.flush()
    writer.stop()
    assert doubted == [kept]
    assert [number for _, number in ins] == [8]
    with archive.engine.connect() as connection:
        found = connection.execute(select(instances.c.SOPInstanceUID, instances.c.origin)).all()
    assert {tuple(row) for row in found} == {("1.2.1.1", "ai-generated"), ("1.3.1.1", "acquired")}


def test_an_index_of_the_schema_before_is_brought_up_and_keeps_its_tokens(tmp_path: Path) -> None:
    with Archive(tmp_path) as made:
        made.put("1.2", "1.2.1", "1.2.1.1")
        made.flush()
        shown, _ = Tokens(made.engine).make("a notebook", "research", 1, "admin")
        with made.engine.begin() as connection:
            connection.execute(delete(released_series))
            connection.execute(update(facts).where(facts.c.name == "schema").values(value="2"))
    with Archive(tmp_path) as again:
        again.flush()
        (found,) = again.gate.view(again.routes[0]).find(Query(Level.SERIES))
        assert found["SeriesInstanceUID"] == "1.2.1"
        assert Tokens(again.engine).find(shown) is not None


def test_what_is_released_of_a_series_goes_with_its_study(archive: Archive) -> None:
    first = archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.put("1.2", "1.2.2", "1.2.2.1")
    archive.flush()
    assert count(archive, released_series) == 2
    archive.remove(first)
    assert count(archive, released_series) == 1
    archive.put("1.2", "1.2.3", "1.2.3.1", UNLABELLED)
    archive.flush()
    assert count(archive, released_series) == 0
