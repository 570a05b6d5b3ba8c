"""Reading ahead: in order, within bounds, and without a thread that is left over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orthanc_provenance.doors.ahead import ahead, in_pairs


def test_items_come_in_their_order_from_another_thread() -> None:
    seen: set[str] = set()

    def items() -> Iterator[bytes]:
        for number in range(100):
            seen.add(threading.current_thread().name)
            yield bytes([number])

    assert list(ahead(items(), len)) == [bytes([number]) for number in range(100)]
    assert not any(name == threading.current_thread().name for name in seen)


def test_no_more_waits_than_is_allowed() -> None:
    made: list[int] = []

    def items() -> Iterator[bytes]:
        for number in range(50):
            made.append(number)
            yield bytes(10)

    for taken, _ in enumerate(ahead(items(), len, limit=30)):
        # Three wait, one more is made, and one is in the hands of whoever takes.
        assert len(made) <= taken + 6


def test_a_failure_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[bytes]:
        yield b"1"
        raise LookupError("gone")

    found = ahead(items(), len)
    assert next(found) == b"1"
    with pytest.raises(LookupError, match="gone"):
        next(found)


def test_whoever_stops_taking_leaves_no_thread_behind() -> None:
    ended: list[bool] = []

    def items() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(10)
        finally:
            ended.append(True)

    before = set(threading.enumerate())
    found = ahead(items(), len, limit=20)
    next(found)
    found.close()
    assert set(threading.enumerate()) <= before
    assert ended == [True]


def test_two_are_read_at_once_and_come_in_their_order() -> None:
    together = threading.Barrier(2, timeout=10)

    def read(name: str) -> bytes:
        together.wait()
        return name.encode()

    assert list(in_pairs(read, ["1", "2", "3", "4"])) == [b"1", b"2", b"3", b"4"]


def test_behind_a_large_one_the_next_is_read_alone() -> None:
    threads: list[str] = []

    def read(name: str) -> bytes:
        threads.append(threading.current_thread().name)
        return bytes(100)

    assert len(list(in_pairs(read, "abcde", limit=100))) == 5
    # The first two are read before anything is known of their size.
    assert set(threads[2:]) == {threading.current_thread().name}


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_reader_that_fails_leaves_no_thread_behind(broken: str) -> None:
    def read(name: str) -> bytes | None:
        if name == broken:
            raise LookupError(name)
        return None

    before = set(threading.enumerate())
    with pytest.raises(LookupError, match=broken):
        list(in_pairs(read, "ab"))
    assert set(threading.enumerate()) <= before
