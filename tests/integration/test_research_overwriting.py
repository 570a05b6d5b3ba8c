"""Where Orthanc replaces instances, research never gets what has just replaced what was released."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import requests
from door import (
    SECRET,
    STATES,
    made,
    opened,
    retrieved,
    send,
    store_visible,
    synthetic_in_place_of,
    traces,
    verdict,
)
from support import GENERATOR, RESEARCH, Image, post, status, until

from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc


@pytest.fixture(scope="module")
def server(server_factory: ServerFactory) -> Iterator[Server]:
    with server_factory(config={"OverwriteInstances": True}) as started:
        yield opened(started)


@dataclass
class Readers:
    """Researchers who ask for one instance again and again, in every way; `found` counts what they got."""

    server: Server
    image: Image
    found: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def paths(self) -> list[str]:
        study = f"/studies/{self.image.study}"
        instance = f"{study}/series/{self.image.series}/instances/{self.image.sop}"
        return [
            f"{instance}?accept=application/dicom",
            f"{instance}/metadata",
            study,
            f"{study}/metadata",
            f"/series?StudyInstanceUID={self.image.study}",
            f"/instances?SOPInstanceUID={self.image.sop}&ProvenanceState={','.join(STATES)}",
        ]

    def read(self, path: str) -> None:
        """Ask for `path` until the end."""
        with requests.Session() as http:
            http.auth = self.server.researcher
            while not self._ended.is_set():
                answer = http.get(f"{self.server.url}{RESEARCH}{path}", timeout=60)
                if answer.status_code not in (200, 404, 503):
                    self.problems.append(f"{path} answers {answer.status_code}: {answer.text[:200]}")
                for secret in (SECRET, GENERATOR, "ai-generated"):
                    if secret.encode() in answer.content:
                        self.problems.append(f"{path} shows {secret}")
                if self.image.sop.encode() in answer.content or self.image.series.encode() in answer.content:
                    self.found[path] = self.found.get(path, 0) + 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Readers of all paths at once, while the block runs."""
        with ThreadPoolExecutor(len(self.paths())) as pool:
            running = [pool.submit(self.read, path) for path in self.paths()]
            try:
                yield
            finally:
                self._ended.set()
        for reader in running:
            reader.result()


@pytest.mark.parametrize("transport", ["POST", "STOW-RS", "C-STORE"])
def test_research_never_gets_what_replaced_a_released_instance(transport: str, server: Server) -> None:
    real = made()
    beside = made(real.study, real.series)
    synthetic = synthetic_in_place_of(real)
    readers = Readers(server, real)
    store_visible(server, real, beside)
    with readers.reading():
        for _ in range(4):
            readers.found.clear()
            until(lambda: len(readers.found) == len(readers.paths()), "every reader gets the real one")
            send(server, synthetic, transport)
            # The first requests after the acknowledgement.
            assert not retrieved(server, real)
            assert not retrieved(server, beside)
            store_visible(server, real, beside)
    assert readers.problems == []
    send(server, synthetic, transport)
    assert traces(server, synthetic) == []
    assert verdict(server, synthetic, beside) == "block"
    assert traces(server, beside) == []


def test_of_two_that_replace_each_other_at_once_research_never_gets_the_synthetic_one(server: Server) -> None:
    real = made()
    synthetic = synthetic_in_place_of(real)
    readers = Readers(server, real)
    store_visible(server, real)

    def overwrite(image: Image) -> None:
        for _ in range(40):
            assert post(server, image).status_code == 200

    with readers.reading(), ThreadPoolExecutor(2) as writers:
        running = [writers.submit(overwrite, image) for image in (real, synthetic)]
        for writer in running:
            writer.result()
        until(lambda: not status(server)["pending_instances"], "nothing is on its way")
        kept = requests.post(
            f"{server.url}/tools/lookup", data=real.sop, auth=server.admin, timeout=60
        ).json()
        (path,) = (item["Path"] for item in kept if item["Type"] == "Instance")
        archived = requests.get(f"{server.url}{path}/file", auth=server.admin, timeout=60).content
        if SECRET.encode() in archived:
            assert verdict(server, real) == "block"
            assert not retrieved(server, real)
        else:
            until(lambda: retrieved(server, real), "the real one is visible again")
    assert readers.problems == []
