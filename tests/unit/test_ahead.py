"""Reading ahead: in order, within bounds, and without a thread that is left over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orthanc_provenance.doors.ahead import ahead


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
