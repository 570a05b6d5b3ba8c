"""A researcher who never stops looking: what research listed and gave, from which moment on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from senders import GONE
from support import Image, report, research

from launch import Server


@dataclass(frozen=True)
class Sight:
    """One answer with status 200: asked at `since` (`time.monotonic`), SOP Instance UIDs by study."""

    since: float
    kind: str
    seen: dict[str, frozenset[str]]


@dataclass
class Watcher:
    """Searches for all instances and retrieves studies in turn, from before the server answers to the end.

    `unreleased` collects what research showed without a row whose verdict releases it; it is looked up as
    soon as something is seen for the first time, and only while `archive_rests`: nothing is being stored.
    """

    server: Server
    images: Sequence[Image]
    archive_rests: bool
    sights: list[Sight] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    unreleased: set[str] = field(default_factory=set)
    problems: list[BaseException] = field(default_factory=list)
    _checked: set[str] = field(default_factory=set)
    _ended: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def run(self) -> None:
        """Look until the end; the server may come and go."""
        turn = random.Random(0)
        by_sop = {image.sop.encode(): image for image in self.images}
        studies = sorted({image.study for image in self.images})
        try:
            while not self._ended.is_set():
                try:
                    self._search()
                    self._retrieve(turn.choice(studies), by_sop)
                except GONE:
                    time.sleep(0.01)
        # Told by `watching`, on the thread of the test.
        except BaseException as problem:  # noqa: BLE001
            self.problems.append(problem)

    def _search(self) -> None:
        since = time.monotonic()
        answer = research(self.server, "/instances", limit=1000)
        self.statuses.add(answer.status_code)
        if answer.status_code != 200:
            return
        seen: dict[str, set[str]] = {}
        for item in answer.json():
            seen.setdefault(item["0020000D"]["Value"][0], set()).add(item["00080018"]["Value"][0])
        self._note(Sight(since, "listed", {study: frozenset(sops) for study, sops in seen.items()}))

    def _retrieve(self, study: str, by_sop: dict[bytes, Image]) -> None:
        since = time.monotonic()
        answer = research(self.server, f"/studies/{study}")
        self.statuses.add(answer.status_code)
        if answer.status_code == 200:
            given = frozenset(image.sop for sop, image in by_sop.items() if sop in answer.content)
            self._note(Sight(since, "given", {study: given}))

    def _note(self, sight: Sight) -> None:
        self.sights.append(sight)
        if not self.archive_rests:
            return
        for study, sops in sight.seen.items():
            new = sops - self._checked
            if new:
                self._checked |= new
                self.unreleased |= new - self._released(study)

    def _released(self, study: str) -> set[str]:
        told = report(self.server, study) or {"series": []}
        return {
            instance["SOPInstanceUID"]
            for series in told["series"]
            if series["routes"]["research"]["verdict"] == "release"
            for instance in series["instances"]
        }


@contextmanager
def watching(server: Server, images: Sequence[Image], *, archive_rests: bool) -> Iterator[Watcher]:
    """A watcher that looks while the block runs, and whose own problems are raised at its end."""
    watcher = Watcher(server, images, archive_rests)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.end()
        thread.join()
    for problem in watcher.problems:
        raise problem
