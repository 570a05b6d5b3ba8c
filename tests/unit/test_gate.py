"""The gate: what closes it, whom it admits, and what it does about objects that change while they leave."""

from __future__ import annotations

import pytest
from archive_fixture import ORIGINAL, UNLABELLED, Archive, make_record

from orthanc_provenance.config import Route
from orthanc_provenance.errors import IndexUnavailable, NotStored
from orthanc_provenance.gate import Requester, View
from orthanc_provenance.index.query import Level, Query, Released
from orthanc_provenance.index.writer import Put, Settle

STUDIES = Query(Level.STUDY)


@pytest.fixture
def view(archive: Archive) -> View:
    return archive.gate.view(archive.routes[0])


def only(view: View) -> Released:
    (released,) = view.released("1.2")
    return released


@pytest.fixture
def instance(archive: Archive) -> str:
    made = archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    return made


@pytest.mark.parametrize(
    ("user", "users", "admitted"),
    [
        ("ada", ("ada", "bob"), True),
        ("Ada", ("ada",), False),
        ("eve", ("ada",), False),
        ("", ("ada",), False),
        ("", ("",), False),
        ("ada", (), False),
    ],
)
def test_a_route_admits_its_users_and_never_nobody(
    archive: Archive, user: str, users: tuple[str, ...], admitted: bool
) -> None:
    assert archive.gate.admits(Requester(user), Route(users=users)) is admitted


def test_nothing_can_be_asked_while_research_is_closed(archive: Archive, view: View, instance: str) -> None:
    released = only(view)
    archive.writer.failure = "no disk"
    with pytest.raises(IndexUnavailable, match="no disk"):
        archive.gate.view(archive.routes[0])
    with pytest.raises(IndexUnavailable, match="no disk"):
        view.find(STUDIES)
    with pytest.raises(IndexUnavailable, match="no disk"):
        view.released("1.2")
    with pytest.raises(IndexUnavailable, match="no disk"):
        view.read(released, archive.read)


def test_what_may_leave_is_read_with_its_assessment(archive: Archive, view: View, instance: str) -> None:
    read = view.read(only(view), archive.read)
    assert read is not None
    data, row = read
    assert data == archive.stored[instance]
    assert (row["state"], row["StudyInstanceUID"]) == ("original", "1.2")


def test_an_instance_that_is_on_its_way_is_not_read(archive: Archive, view: View, instance: str) -> None:
    released = only(view)
    archive.pending.announce(make_record(archive.stored[instance], ORIGINAL), thread=1, closes_study=False)
    assert view.read(released, archive.read) is None
    assert view.released("1.2") == []
    assert view.find(STUDIES) == []


def test_an_instance_that_closes_its_study_closes_its_neighbours(
    archive: Archive, view: View, instance: str
) -> None:
    released = only(view)
    other = archive.put("1.5", "1.5.1", "1.5.1.1")
    archive.flush()
    arriving = make_record(archive.stored[instance].replace(b"1.2.1.1\0", b"1.2.1.9\0"), UNLABELLED)
    assert arriving.identifiers.instance not in (instance, other)
    archive.pending.announce(arriving, thread=1, closes_study=True)
    assert view.read(released, archive.read) is None
    assert view.released("1.2") == []
    assert [row["StudyInstanceUID"] for row in view.find(STUDIES)] == ["1.5"]


def test_an_object_announced_while_it_is_read_does_not_leave(
    archive: Archive, view: View, instance: str
) -> None:
    record = make_record(archive.stored[instance], ORIGINAL)
    archive.on_read = lambda _: archive.pending.announce(record, thread=1, closes_study=False)
    assert view.read(only(view), archive.read) is None


def test_an_object_replaced_and_indexed_while_it_is_read_does_not_leave(
    archive: Archive, view: View, instance: str
) -> None:
    def replace(_: str) -> None:
        archive.writer.submit(Put(make_record(archive.stored[instance], UNLABELLED)))
        archive.flush()

    archive.on_read = replace
    assert view.read(only(view), archive.read) is None


def test_a_view_reads_nothing_that_another_route_releases(archive: Archive, view: View) -> None:
    strange = Released("no-such-instance", "1.2", "1.2.1", "1.2.1.1", "1.2.840")
    reads: list[str] = []
    archive.on_read = reads.append
    assert view.read(strange, archive.read) is None
    assert reads == []


def test_bytes_that_are_gone_are_told(archive: Archive, view: View, instance: str) -> None:
    released = only(view)
    archive.stored.clear()
    with pytest.raises(NotStored):
        view.read(released, archive.read)


def test_a_study_is_closed_until_it_is_settled_and_whenever_it_is_not(archive: Archive, view: View) -> None:
    made = archive.put("1.2", "1.2.1", "1.2.1.1", settled=False)
    archive.flush()
    study = make_record(archive.stored[made], ORIGINAL).identifiers.study
    assert view.released("1.2") == []
    archive.writer.submit(Settle((study,), True))
    archive.flush()
    assert len(view.released("1.2")) == 1
    archive.writer.submit(Settle((study,), False))
    archive.flush()
    assert view.released("1.2") == []
    assert view.find(STUDIES) == []
