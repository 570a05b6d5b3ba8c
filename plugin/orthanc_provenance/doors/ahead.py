"""Reading ahead: while one object is checked and sent, the next ones are read, two at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

_T = TypeVar("_T")
AHEAD_BYTES = 4 << 20


def ahead(
    items: Iterator[_T], size: Callable[[_T], int], limit: int = AHEAD_BYTES
) -> Generator[_T, None, None]:
    """The `items`, made on a thread of their own, of which at most `limit` bytes and one more item wait.

    What their iterator raises is raised here, behind the items before it. The thread has ended when this
    generator has, also where it is closed early: then after the item that it is just making.
    """
    shelf: _Shelf[_T] = _Shelf(limit)
    with ThreadPoolExecutor(1, "provenance-ahead") as maker:
        made = maker.submit(_make, items, size, shelf)
        try:
            while (taken := shelf.take()) is not None:
                yield taken.pop()
            made.result()
        finally:
            shelf.close()


def in_pairs(
    read: Callable[[str], bytes | None], names: Iterable[str], limit: int = AHEAD_BYTES
) -> Generator[bytes | None, None, None]:
    """What `read` gives for `names`, in their order, of which two are read at once.

    Large objects are read one by one: behind one of `limit` bytes the next has no company. Where `read`
    raises, or whoever takes stops, no thread is left over.
    """
    left = iter(names)
    with ThreadPoolExecutor(1, "provenance-beside") as helper:
        size = 0
        for name in left:
            other = next(left, None) if size < limit else None
            beside = None if other is None else helper.submit(read, other)
            data = read(name)
            size = len(data or b"")
            yield data
            del data
            if beside is not None:
                yield beside.result()
                del beside


class _Shelf(Generic[_T]):
    """What was made and not yet taken; each item in a list of its own, so that taking it leaves no copy."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._items: deque[tuple[list[_T], int]] = deque()
        self._size = 0
        self._ended = self._closed = False

    def put(self, item: _T, size: int) -> bool:
        """Wait for room; False once nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._size < self._limit)
            self._items.append(([item], size))
            self._size += size
            self._changed.notify_all()
            return not self._closed

    def take(self) -> list[_T] | None:
        """The next item, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._ended)
            if not self._items:
                return None
            found, size = self._items.popleft()
            self._size -= size
            self._changed.notify_all()
            return found

    def end(self) -> None:
        """No more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """No more will be taken."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


def _make(items: Iterator[_T], size: Callable[[_T], int], shelf: _Shelf[_T]) -> None:
    try:
        for item in items:
            if not shelf.put(item, size(item)):
                return
            del item
    finally:
        shelf.end()
