"""A search does the same work in a small index and in a large one: no page reads what it does not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from benches.fill import fill
from orthanc_provenance.index import pages
from orthanc_provenance.index.query import Level, Query
from orthanc_provenance.index.released import Kind
from orthanc_provenance.index.schema import open_engine
from orthanc_provenance.index.search import Search

SMALL, LARGE = 400, 4000
_STEP = 100
QUERIES = {
    "all": Query(Level.STUDY),
    "all series": Query(Level.SERIES),
    "all instances": Query(Level.INSTANCE),
    "common": Query(Level.STUDY, provenance={Kind.SYNTHETIC: ("NO",)}),
    "two common": Query(Level.STUDY, provenance={Kind.SYNTHETIC: ("NO",), Kind.ORIGIN: ("acquired",)}),
    "either of two": Query(Level.STUDY, provenance={Kind.STATE: ("original", "privacy-protected")}),
    "common series": Query(Level.SERIES, provenance={Kind.STATE: ("original",)}),
    "common instances": Query(
        Level.INSTANCE, provenance={Kind.STATE: ("original",), Kind.SYNTHETIC: ("NO",)}
    ),
    "one study": Query(Level.STUDY, {"StudyInstanceUID": "1.2.826.0.1.3680043.10.7"}),
    "one patient": Query(Level.STUDY, {"PatientID": "P000000007"}, {Kind.SYNTHETIC: ("NO",)}),
    "its series": Query(Level.SERIES, {"StudyInstanceUID": "1.2.826.0.1.3680043.10.7"}),
    "its instances": Query(Level.INSTANCE, {"StudyInstanceUID": "1.2.826.0.1.3680043.10.7"}),
    "one series": Query(Level.SERIES, {"SeriesInstanceUID": "1.2.826.0.1.3680043.10.7.0"}),
    "one instance": Query(Level.INSTANCE, {"SOPInstanceUID": "1.2.826.0.1.3680043.10.7.0.1"}),
    "nothing": Query(Level.STUDY, provenance={Kind.GENERATOR: ("no such name",)}),
}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """An index of 400 studies, and one with ten times as many like them."""
    made = []
    for count in (SMALL, LARGE):
        folder = tmp_path_factory.mktemp(f"index-{count}")
        fill(folder, count, templates_used=200)
        made.append(open_engine("", folder))
    yield made[0], made[1]
    for engine in made:
        engine.dispose()


def work(engine: Engine, asked: Query) -> int:
    """How many hundred steps SQLite's virtual machine takes to answer."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def watch(connection: object, _record: object, _proxy: object) -> None:
        connection.set_progress_handler(count, _STEP)  # type: ignore[attr-defined]

    event.listen(engine, "checkout", watch)
    try:
        search = Search(engine, "research")
        found = search.find(asked, [], [])
        search.search(asked, ["1.2.3"], ["no such instance"])
    finally:
        event.remove(engine, "checkout", watch)
    assert bool(found) == (asked is not QUERIES["nothing"])
    return steps


@pytest.mark.parametrize("name", QUERIES)
def test_the_work_does_not_grow_with_the_archive(
    engines: tuple[Engine, Engine], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both have more than are counted then, as a large archive has.
    monkeypatch.setattr(pages, "COUNTED_IN_ORDER", SMALL // 2)
    asked = QUERIES[name]
    small, large = (work(engine, asked) for engine in engines)
    assert large <= 1.5 * small + 20


@pytest.mark.parametrize("name", ["all", "common", "one study"])
def test_studies_are_counted_where_their_order_is_all_that_is_asked(
    engines: tuple[Engine, Engine], name: str
) -> None:
    asked = replace(QUERIES[name], limit=1)
    search = Search(engines[1], "research")
    found, total = search.search(asked, [], [])
    assert total == len(search.find(replace(asked, limit=LARGE), [], []))
    (study, *_) = found
    uid = study["StudyInstanceUID"]
    assert search.search(asked, [uid], [])[1] == total - 1


def test_no_more_are_counted_than_there_is_time_for(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "COUNTED_IN_ORDER", 1000)
    assert Search(engines[1], "research").search(QUERIES["all"], [], [])[1] is None
    assert Search(engines[1], "research").search(QUERIES["two common"], [], [])[1] is None
