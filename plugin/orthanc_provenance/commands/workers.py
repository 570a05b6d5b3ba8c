"""Work on many items in several processes, with the results in the order of the items.

Never more than a few batches are under way. A worker that ends in the middle of its batch, whatever ended
it, costs nothing but time: its items are given to another one, one by one, and only an item that ends two
workers is given up. Workers end when this process does, however it ends.

Workers come from a small server process: a plain fork would copy this process with all its threads, in
whatever they hold at that moment.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import CommandError

BATCH = 32
_AHEAD = 4
_MAX_DEATHS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]


class Ready(NamedTuple, Generic[Result]):
    """Stands among the items for one whose result is known: it keeps its place and costs no work."""

    result: Result


@dataclass
class _Task(Generic[Item]):
    """Items of the batch `number`, by position, to work on; `deaths` workers have ended over them."""

    number: int
    items: dict[int, Item]
    deaths: int = 0


@dataclass
class _Worker(Generic[Item]):
    process: ForkServerProcess
    connection: Connection
    task: _Task[Item] | None = None


@dataclass
class _Batch(Generic[Result]):
    """The results of one batch by position, and how many are missing."""

    missing: int
    results: dict[int, Result] = field(default_factory=dict)


class Workers(Generic[Item, Result]):
    """Up to `jobs` processes that each make their own work: `make_work(*arguments)`, which must be picklable.

    `give_up(item, reason)` makes the result of an item that ends its worker. Use it as a context manager: on
    the way out all processes are ended.
    """

    def __init__(
        self,
        jobs: int,
        make_work: Callable[..., Work[Item, Result]],
        arguments: tuple[Any, ...],
        give_up: Callable[[Item, str], Result],
    ) -> None:
        self._jobs = jobs
        self._make_work = make_work
        self._arguments = arguments
        self._give_up = give_up
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([make_work.__module__])
        self._workers: list[_Worker[Item]] = []
        self._again: deque[_Task[Item]] = deque()
        self._batches: dict[int, _Batch[Result]] = {}
        self._next = 0

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def work(self, items: Iterable[Item | Ready[Result]]) -> Iterator[Result]:
        """The results for `items`, in their order. Raises CommandError where no process can be started."""
        batches = enumerate(_batched(items))
        while True:
            self._hand_out(batches)
            while (batch := self._batches.get(self._next)) is not None and not batch.missing:
                del self._batches[self._next]
                self._next += 1
                for position in range(len(batch.results)):
                    yield batch.results[position]
                self._hand_out(batches)
            busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
            if not busy and not self._batches:
                return
            for connection in wait(list(busy)):
                if isinstance(connection, Connection):
                    self._collect(busy[connection])

    def _hand_out(self, batches: Iterator[tuple[int, list[Item | Ready[Result]]]]) -> None:
        """Give every worker something to do, as far as there is something and the window is open."""
        for worker in (*self._workers, *itertools.repeat(None, self._jobs - len(self._workers))):
            if worker is not None and worker.task is not None:
                continue
            task = self._take(batches)
            if task is None:
                return
            if worker is None:
                worker = self._start()
            worker.task = task
            try:
                worker.connection.send(list(task.items.values()))
            except OSError:
                self._bury(worker)

    def _take(self, batches: Iterator[tuple[int, list[Item | Ready[Result]]]]) -> _Task[Item] | None:
        if self._again:
            return self._again.popleft()
        while len(self._batches) <= _AHEAD * self._jobs:
            number, items = next(batches, (0, []))
            if not items:
                return None
            known = {at: item.result for at, item in enumerate(items) if isinstance(item, Ready)}
            left = {at: item for at, item in enumerate(items) if not isinstance(item, Ready)}
            self._batches[number] = _Batch(len(left), known)
            if left:
                return _Task(number, left)
        return None

    def _collect(self, worker: _Worker[Item]) -> None:
        """Take over what `worker` has done, or that it has ended."""
        try:
            results = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        task, worker.task = worker.task, None
        if task is not None:
            self._done(task, results)

    def _done(self, task: _Task[Item], results: list[Result]) -> None:
        batch = self._batches[task.number]
        batch.results.update(zip(task.items, results, strict=True))
        batch.missing -= len(results)

    def _bury(self, worker: _Worker[Item]) -> None:
        """Take leave of a worker that has ended, and see to what it had to do."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        task = worker.task
        if task is None:
            return
        deaths = task.deaths + 1
        if len(task.items) == 1 and deaths >= _MAX_DEATHS:
            code = worker.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._done(task, [self._give_up(item, how) for item in task.items.values()])
            return
        self._again.extend(_Task(task.number, {at: item}, deaths) for at, item in task.items.items())

    def _start(self) -> _Worker[Item]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._make_work, self._arguments), daemon=True
        )
        try:
            with _uninterrupted():
                process.start()
        except OSError as problem:
            raise CommandError(
                f"no process can be started ({problem}); ask for fewer with --jobs"
            ) from problem
        # Only the worker may hold its end: so either side learns when the other one has ended.
        theirs.close()
        worker: _Worker[Item] = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _serve(
    connection: Connection, make_work: Callable[..., Work[Any, Any]], arguments: tuple[Any, ...]
) -> None:
    """A worker: works on the batches that arrive until nobody is left to send any."""
    work = make_work(*arguments)
    while True:
        try:
            items = connection.recv()
        except (EOFError, OSError):
            return
        results = [work(item) for item in items]
        try:
            connection.send(results)
        except OSError:
            return


def _batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, which a terminal sends to all: this one ends them."""
    # It would unblock the signal: so it must run before that is blocked.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
