"""What is on its way is closed from before it is stored until its row is written."""

from __future__ import annotations

import time
from dataclasses import replace

from archive_fixture import ORIGINAL, make_record
from dicom_samples import encode, image
from hypothesis import given
from hypothesis import strategies as st

from orthanc_provenance.index.pending import Pending
from orthanc_provenance.index.record import Identifiers, Record

LATEST = 1 << 30
TEMPLATE = make_record(encode(image(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")), ORIGINAL)


def record(instance: str, study: str = "1.2") -> Record:
    return replace(
        TEMPLATE,
        identifiers=Identifiers("study", "series", instance),
        study={**TEMPLATE.study, "StudyInstanceUID": study},
    )


def test_an_announced_instance_is_closed_until_it_is_written() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    assert pending.holds("a", "1.2")
    assert not pending.holds("b", "1.2")
    announced = pending.stored("a", thread=1)
    assert announced is not None
    assert announced.record == record("a")
    assert pending.holds("a", "1.2")
    pending.written([("a", announced.number)])
    assert not pending.holds("a", "1.2")
    assert pending.instances() == set()


def test_an_instance_that_speaks_against_its_study_closes_it_whole() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.announce(record("b"), thread=2, closes_study=True)
    assert pending.holds("c", "1.2")
    assert not pending.holds("c", "1.3")
    pending.written([("a", LATEST)])
    assert pending.closed_studies() == {"1.2"}
    pending.written([("b", LATEST)])
    assert pending.closed_studies() == set()
    assert not pending.holds("c", "1.2")


def test_an_instance_announced_anew_counts_once_and_closes_its_study_until_it_is_written() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.announce(record("a"), thread=2, closes_study=False)
    assert pending.closed_studies() == {"1.2"}
    assert pending.instances() == {"a"}
    pending.written([("a", LATEST)])
    assert pending.closed_studies() == set()
    assert pending.instances() == set()


def test_the_row_of_an_earlier_announcement_does_not_open_what_was_announced_since() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    earlier = pending.stored("a", thread=1)
    assert earlier is not None
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.written([("a", earlier.number)])
    assert pending.holds("a", "1.2")
    assert pending.closed_studies() == {"1.2"}
    later = pending.stored("a", thread=1)
    assert later is not None
    pending.written([("a", later.number)])
    assert not pending.holds("a", "1.2")


def test_of_two_announced_at_once_the_archive_says_which_one_it_keeps() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.announce(record("a"), thread=2, closes_study=False)
    assert pending.stored("a", thread=2) is None
    # A reading that begins now may still find either of them.
    pending.written([("a", pending.reading("a"))])
    assert pending.closed_studies() == {"1.2"}
    assert pending.stored("a", thread=1) is None
    pending.written([("a", pending.reading("a"))])
    assert pending.instances() == set()


def test_a_reading_from_before_something_was_stored_does_not_open_it() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    before = pending.reading("a")
    assert pending.stored("a", thread=1) is not None
    pending.written([("a", before)])
    assert pending.holds("a", "1.2")
    pending.written([("a", pending.reading("a"))])
    assert not pending.holds("a", "1.2")


def test_what_is_held_by_an_archive_that_never_replaces_is_final_while_something_is_under_way() -> None:
    pending = Pending(replaces=False)
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.written([("a", pending.reading("a"))])
    assert pending.closed_studies() == set()


def test_an_archive_that_never_replaces_is_read_where_something_was_announced_twice() -> None:
    pending = Pending(replaces=False)
    pending.announce(record("a"), thread=1, closes_study=False)
    assert pending.stored("a", thread=1) is not None
    pending.announce(record("a"), thread=1, closes_study=False)
    assert pending.stored("a", thread=1) is None


def test_absence_opens_nothing_that_is_just_arriving() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=True)
    pending.absent(["a", "never-announced"])
    assert pending.holds("a", "1.2")
    # Looked up long after it was announced: whatever came was refused.
    pending.postpone(["a"])
    pending.absent(["a"])
    assert not pending.holds("a", "1.2")


def test_the_oldest_is_what_began_first_and_is_not_written_yet() -> None:
    pending = Pending()
    assert pending.oldest() == float("inf")
    start = time.monotonic()
    pending.begin(1)
    assert start <= pending.oldest() <= time.monotonic()
    pending.announce(record("a"), thread=1, closes_study=False)
    began = pending.oldest()
    announced = pending.stored("a", thread=1)
    assert announced is not None
    pending.postpone(["a"])
    assert began <= pending.oldest() <= time.monotonic()
    pending.written([("a", announced.number)])
    assert pending.oldest() == float("inf")
    # What could not be announced counts from when it began too.
    pending.begin(2)
    began = pending.oldest()
    pending.stored("b", thread=2)
    assert pending.oldest() == began


def test_what_was_stored_without_an_announcement_is_closed_too() -> None:
    pending = Pending()
    assert pending.stored("a", thread=1) is None
    assert pending.instances() == {"a"}
    pending.written([("a", pending.reading("a"))])
    assert pending.instances() == set()


def test_a_record_belongs_to_the_thread_that_announced_it_and_is_given_once() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    announced = pending.stored("a", thread=1)
    assert announced is not None
    assert announced.record == record("a")
    assert pending.stored("a", thread=1) is None
    assert pending.holds("a", "1.2")


def test_a_record_of_another_instance_is_not_taken_for_what_was_stored() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    assert pending.stored("b", thread=1) is None
    assert pending.instances() == {"a", "b"}


def test_a_thread_that_begins_anew_has_announced_nothing_and_its_instance_stays_closed() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    pending.begin(1)
    assert pending.stored("a", thread=1) is None
    assert pending.holds("a", "1.2")


def test_what_waits_too_long_is_overdue_and_can_be_postponed() -> None:
    pending = Pending()
    pending.announce(record("a"), thread=1, closes_study=False)
    assert pending.overdue(3600) == []
    assert pending.overdue(-1) == ["a"]
    pending.postpone(["a", "never-announced"])
    assert pending.overdue(3600) == []
    assert pending.instances() == {"a"}


STEPS = st.tuples(st.sampled_from(("announce", "closing", "stored", "written")), st.sampled_from("abcd"))


@given(st.lists(STEPS, max_size=30))
def test_closed_is_exactly_what_was_announced_or_stored_since_it_was_written(
    steps: list[tuple[str, str]],
) -> None:
    pending, waiting = Pending(), dict[str, str]()
    last, last_closed = "", ""
    for step, instance in steps:
        if step == "stored":
            pending.stored(instance, thread=1)
            # Stored under another identifier than announced on its thread: what was announced still speaks.
            # So it does where it took so long to store that it was given up.
            carried = last_closed if last != instance or instance not in waiting else ""
            waiting[instance] = waiting.get(instance) or carried
            last, last_closed = "", ""
        elif step == "written":
            pending.written([(instance, LATEST)])
            waiting.pop(instance, None)
        else:
            pending.announce(record(instance, f"9.{instance}"), thread=1, closes_study=step == "closing")
            last = instance
            closing = step == "closing" or waiting.get(instance)
            waiting[instance] = last_closed = f"9.{instance}" if closing else ""
        assert pending.instances() == set(waiting)
        assert pending.closed_studies() == set(filter(None, waiting.values()))
