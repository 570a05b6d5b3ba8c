from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orthanc_provenance.commands import workers
from orthanc_provenance.commands.workers import Ready, Workers


def double(_scratch: str) -> Callable[[int], int]:
    return lambda item: item * 2


def dies_once_over_five(scratch: str) -> Callable[[int], int]:
    """The worker that meets 5 first kills itself, and every other one does the work."""

    def work(item: int) -> int:
        flag = Path(scratch, "died")
        if item == 5 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * 2

    return work


def dies_over_five(_scratch: str) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return item * 2

    return work


def run(make_work: Callable[[str], Callable[[int], int]], tmp_path: Path, number: int) -> list[int | str]:
    def give_up(item: int, how: str) -> int | str:
        return f"{item}: {how}"

    made: Workers[int, int | str] = Workers(2, make_work, (str(tmp_path),), give_up)
    with made:
        return list(made.work(range(number)))


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BATCH", 3)


@pytest.mark.parametrize("number", [0, 1, 3, 50])
def test_results_are_in_the_order_of_the_items(tmp_path: Path, number: int):
    assert run(double, tmp_path, number) == [item * 2 for item in range(number)]


def test_a_worker_that_dies_loses_nothing(tmp_path: Path):
    assert run(dies_once_over_five, tmp_path, 50) == [item * 2 for item in range(50)]
    assert (tmp_path / "died").exists()


def test_an_item_that_ends_every_worker_is_given_up_and_all_others_are_done(tmp_path: Path):
    results = run(dies_over_five, tmp_path, 50)
    assert results[5] == "5: signal 9"
    assert [*results[:5], *results[6:]] == [item * 2 for item in range(50) if item != 5]


def test_an_item_alone_in_its_batch_has_a_second_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "BATCH", 1)
    assert run(dies_once_over_five, tmp_path, 6) == [0, 2, 4, 6, 8, 10]


def test_what_is_known_keeps_its_place(tmp_path: Path):
    items = [Ready(-item) if item % 7 < 4 else item for item in range(60)]
    made: Workers[int, int] = Workers(2, double, (str(tmp_path),), lambda item, _how: item)
    with made:
        assert list(made.work(items)) == [-item if item % 7 < 4 else item * 2 for item in range(60)]


def test_items_are_taken_no_faster_than_results_are_fetched(tmp_path: Path):
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(10_000):
            taken += 1
            yield item

    made: Workers[int, int] = Workers(2, double, (str(tmp_path),), lambda item, _how: item)
    with made:
        results = made.work(items())
        assert [next(results) for _ in range(10)] == [item * 2 for item in range(10)]
        assert taken < 100
    assert all(worker.process.exitcode is not None for worker in made._workers)
