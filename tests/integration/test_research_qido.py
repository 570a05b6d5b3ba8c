"""Searches of the research root find what Orthanc's own would find in an archive of what may leave."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from door import opened, store, unlabelled
from pydicom.datadict import tag_for_keyword
from qido_archive import Item, Mixed, mixed
from qido_queries import LEVELS, UIDS, Search, differs_by_the_standard, meets, search
from support import RESEARCH, research, status, until

from launch import Server, running_orthanc

pytestmark = pytest.mark.orthanc

QUERIES = int(os.environ.get("PROVENANCE_QIDO_QUERIES", "750"))
_TAGS = ("0020000D", "0020000E", "00080018")
_RETRIEVE_URL = "00081190"
_UID = re.compile(r"[0-9.]{8,}")


@dataclass
class Both:
    """The archive behind its gate, and a bare Orthanc that holds only what may leave of it."""

    archive: Mixed
    gated: Server
    bare: Server
    http: requests.Session

    def ours(self, asked: str) -> requests.Response:
        return self.http.get(f"{self.gated.url}{RESEARCH}{asked}", auth=self.gated.researcher, timeout=60)

    def own(self, asked: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.bare.url}/dicom-web{asked}", auth=self.bare.admin, timeout=60)
        assert answer.status_code == 200, f"{asked}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()
        return found


@pytest.fixture(scope="module")
def both(orthanc_version: str) -> Iterator[Both]:
    archive = mixed(40, seed=2)
    with ExitStack() as stack:
        bare = stack.enter_context(running_orthanc(orthanc_version, plugin=False))
        gated = stack.enter_context(running_orthanc(orthanc_version))
        store(bare, *(item.image for item in archive.visible))
        store(opened(gated), *(item.image for item in archive.items))
        wanted = {item.image.sop for item in archive.visible}
        until(lambda: wanted == _found(gated), "research sees what may leave, and nothing else")
        yield Both(archive, gated, bare, stack.enter_context(requests.Session()))


def _found(server: Server) -> set[str]:
    answer = research(server, "/instances", limit=1000)
    return {item["00080018"]["Value"][0] for item in answer.json()} if answer.ok else set()


def identity(row: dict[str, Any], level: int) -> tuple[str, ...]:
    return tuple(row[tag]["Value"][0] for tag in _TAGS[: level + 1])


def items_by(items: list[Item], level: int) -> dict[tuple[str, ...], list[Item]]:
    found: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in items:
        found[tuple(item.attributes[uid] for uid in UIDS[: level + 1])].append(item)
    return found


def differences(ours: dict[str, Any], own: dict[str, Any], tags: Iterable[str]) -> list[str]:
    """The `tags` that Orthanc has a value for and we have another or none; URLs by their end."""
    wrong = []
    for tag in tags:
        expected = own.get(tag, {})
        seen = ours.get(tag, {}).get("Value")
        wanted = expected.get("Value")
        if tag == _RETRIEVE_URL:
            seen, wanted = ([url.partition("/dicom-web/")[2] for url in some] for some in (seen, wanted))
        if wanted and seen != wanted:
            wrong.append(f"{tag}: {wanted} is {seen}")
    return wrong


def check(both: Both, made: Search) -> int:
    """Ask both; the number of matches."""
    parts = items_by(both.archive.visible, made.level)
    own = {identity(row, made.level): row for row in both.own(made.asked)}
    expected = {
        key
        for key in own
        if meets(made, parts[key]) and not differs_by_the_standard(made, parts[key][0].attributes)
    }
    filters = "".join(f"&{name}={value}" for name, value in made.filters.items())
    answer = both.ours(f"{made.asked}{filters}&limit=1000")
    assert answer.status_code == 200, f"{made.asked}{filters}: {answer.text}"
    rows = answer.json()
    found = [identity(row, made.level) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == expected, f"{made.asked}{filters}"
    assert answer.headers["X-Total-Count"] == str(len(found))
    for row in rows:
        its_own = own[identity(row, made.level)]
        # Asked for all there is, each of the two has attributes that the other does not keep.
        tags = row.keys() & its_own.keys() if "includefield=all" in made.extra else its_own.keys()
        wrong = differences(row, its_own, tags)
        assert not wrong, f"{made.asked}: {wrong}"
    if made.page is not None:
        limit, offset = made.page
        page = both.ours(f"{made.asked}{filters}&limit={limit}&offset={offset}").json()
        assert page == rows[offset : offset + limit]
    return len(found)


def test_generated_searches_find_what_orthancs_own_would_find_of_what_may_leave(both: Both) -> None:
    chance = random.Random(QUERIES)
    sizes = [check(both, search(both.archive, chance, filtered=True)) for _ in range(QUERIES)]
    # Most of them must find something for this to say anything.
    assert sum(map(bool, sizes)) > QUERIES / 3
    assert len(set(sizes)) > 10


def test_every_level_without_keys_is_what_orthanc_answers(both: Both) -> None:
    for level, resource in enumerate(LEVELS):
        assert check(both, Search(level, f"/{resource}")) == len(items_by(both.archive.visible, level))


def test_no_search_shows_what_may_not_leave_while_more_of_it_arrives(both: Both) -> None:
    chance = random.Random(7)
    hidden = [item for item in both.archive.items if not item.visible]
    shown = {
        uid for item in both.archive.visible for uid in (item.image.study, item.image.series, item.image.sop)
    }
    secrets = {
        uid for item in hidden for uid in (item.image.study, item.image.series, item.image.sop)
    } - shown
    arriving = [unlabelled(PatientName="Arriving^Secret", PatientID="P001") for _ in range(60)]
    secrets |= {uid for image in arriving for uid in (image.study, image.series, image.sop)}
    ended = threading.Event()

    def arrive() -> None:
        for image in arriving:
            store(both.gated, image)
            time.sleep(0.02)
        ended.set()

    sender = threading.Thread(target=arrive)
    sender.start()
    asked = 0
    while not ended.is_set() or asked < 200:
        made = search(both.archive, chance, filtered=True)
        if chance.random() < 0.5:
            image = chance.choice([*(item.image for item in hidden), *arriving])
            made.path = f"/{LEVELS[made.level]}"
            made.keys = {UIDS[made.level]: (image.study, image.series, image.sop)[made.level]}
        extra = "".join(f"&{name}={value}" for name, value in made.filters.items())
        answer = both.ours(f"{made.asked}{extra}&limit=1000")
        assert answer.status_code == 200, answer.text
        keys = {value for part in made.keys.values() for value in part.split(",")}
        told = set(_UID.findall(answer.text)) & (secrets - keys)
        assert not told, made.asked
        assert "Arriving" not in answer.text
        rows = answer.json()
        assert {uid for row in rows for uid in identity(row, made.level)} <= shown, made.asked
        assert int(answer.headers["X-Total-Count"]) == len(rows)
        asked += 1
    sender.join()
    until(lambda: not status(both.gated)["pending_instances"], "what arrived is in the index")
    assert {row["00080018"]["Value"][0] for row in both.ours("/instances?limit=1000").json()} == {
        item.image.sop for item in both.archive.visible
    }


def test_a_search_for_what_is_hidden_is_answered_like_one_for_what_never_was(both: Both) -> None:
    visible = items_by(both.archive.visible, 0)
    hidden = next(item for item in both.archive.items if (item.image.study,) not in visible)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber"):
        level = min(UIDS.index(name), 2) if name in UIDS else 0
        there, never = (
            both.ours(f"/{LEVELS[level]}?{name}={value}")
            for value in (hidden.attributes[name], "1.2.3.4" if name in UIDS else "never")
        )
        passing = ("date", "keep-alive")
        headers = [
            {key: value for key, value in answer.headers.items() if key.lower() not in passing}
            for answer in (there, never)
        ]
        assert (there.status_code, there.content, headers[0]) == (
            never.status_code,
            never.content,
            headers[1],
        )


def test_text_comes_out_as_utf_8(both: Both) -> None:
    item = next(item for item in both.archive.visible if item.attributes["PatientName"].startswith("Müller"))
    answer = both.ours(f"/studies?StudyInstanceUID={item.image.study}")
    tag = f"{tag_for_keyword('PatientName'):08X}"
    assert answer.content.decode("utf-8")
    assert answer.json()[0][tag]["Value"] == [{"Alphabetic": item.attributes["PatientName"]}]
