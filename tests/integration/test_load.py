"""Under load: everything is stored and visible in the end, nothing hangs, and memory stays where it was."""

from __future__ import annotations

import base64
import random
import re
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from dicomweb_client import DICOMwebClient
from requests.auth import HTTPBasicAuth
from senders import Receipts, post_each, store_by_storescu, stow_each
from support import (
    RESEARCH,
    Image,
    ct_image,
    new_uid,
    research,
    resident_kilobytes,
    sees,
    status,
    until,
    visible,
)

from launch import Server, ServerFactory

pytestmark = [pytest.mark.orthanc, pytest.mark.slow]

# The host's own caches would hide a leak, or look like one. Keys that a version does not know it ignores.
SMALL_CACHES = {
    "MaximumStorageCacheSize": 8,
    "StorageMemoryCapacity": 8,
    "DicomParserCacheSize": 8,
    "DicomParserMemoryCapacity": 8,
    "TranscoderCacheSize": 8,
    "TranscoderMemoryCapacity": 8,
}
BREAKABLE_ARCHIVE = """
import os
import orthanc
import orthanc_provenance
from orthanc_provenance.host.archive import OrthancArchive

read = OrthancArchive.read
reads = []

def breakable(self, instance):
    if os.path.exists(os.environ["BREAK_READING"]):
        reads.append(instance)
        if len(reads) % 4 == 0:
            raise RuntimeError("broken on purpose")
    return read(self, instance)

OrthancArchive.read = breakable
orthanc_provenance.register(orthanc)
"""
MEGABYTE = 1024


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, reading from the archive fails at every fourth instance."""
    return tmp_path_factory.mktemp("load") / "broken"


@pytest.fixture(scope="module")
def server(server_factory: ServerFactory, broken: Path) -> Iterator[Server]:
    script = broken.with_name("site_script.py")
    script.write_text(BREAKABLE_ARCHIVE)
    env = {"BREAK_READING": str(broken)}
    with server_factory(config=SMALL_CACHES, script=script, env=env) as made:
        yield made


@pytest.fixture(scope="module")
def large_study(server: Server) -> list[Image]:
    """A study of 200 MB, visible to research."""
    study = new_uid()
    images = [ct_image(1024, study=study) for _ in range(96)]
    with ThreadPoolExecutor(2) as pool:
        for sending in [pool.submit(post_each, server, images[start::2], Receipts()) for start in (0, 1)]:
            sending.result()
    until(lambda: sees(server, images), "the study is visible")
    return images


def errors(server: Server) -> list[str]:
    """The lines of Orthanc's log that tell of an error."""
    return [line for line in server.log().splitlines() if re.match(r"E\d{4} |Traceback", line)]


# -- many at once ------------------------------------------------------------------------------------------


@contextmanager
def repeating(*steps: Callable[[], None]) -> Iterator[None]:
    """Repeat each step on a thread of its own while the block runs; a problem of theirs ends the test."""
    ended = threading.Event()

    def repeat(step: Callable[[], None]) -> int:
        for turn in range(1_000_000):
            if ended.is_set():
                return turn
            step()
        raise AssertionError("endless")

    with ThreadPoolExecutor(len(steps)) as pool:
        running = [pool.submit(repeat, step) for step in steps]
        try:
            yield
        finally:
            ended.set()
        for step in running:
            assert step.result(), "this came to no turn at all"


def researcher(server: Server) -> DICOMwebClient:
    session = requests.Session()
    session.auth = HTTPBasicAuth(*server.researcher)
    client = DICOMwebClient(server.url + RESEARCH, session=session)
    client.set_http_retry_params(retry=False)
    return client


def read_something(client: DICOMwebClient, chance: random.Random) -> None:
    """Search on all levels, and retrieve a study and an instance that were found."""
    studies = client.search_for_studies(limit=20)
    if not studies:
        time.sleep(0.05)
        return
    study = chance.choice(studies)["0020000D"]["Value"][0]
    instances = client.search_for_instances(study, limit=1000)
    retrieved = client.retrieve_study(study)
    assert len(retrieved) >= len(instances) > 0
    one = chance.choice(instances)
    series, sop = one["0020000E"]["Value"][0], one["00080018"]["Value"][0]
    assert client.retrieve_instance(study, series, sop).SOPInstanceUID == sop
    assert len(client.retrieve_series_metadata(study, series)) >= len(instances)


def test_two_thousand_instances_by_three_ways_at_once_while_research_reads(
    server: Server, tmp_path: Path
) -> None:
    images = mixed_images(2000)
    samples: list[tuple[int, int]] = []

    def sample() -> None:
        answer = requests.get(f"{server.url}/statistics", auth=server.admin, timeout=60)
        samples.append((answer.json()["CountInstances"], resident_kilobytes(server)))
        status(server)
        time.sleep(0.1)

    client, chance = researcher(server), random.Random(1)
    with repeating(sample, lambda: read_something(client, chance)), ThreadPoolExecutor(7) as pool:
        before = requests.get(f"{server.url}/statistics", auth=server.admin, timeout=60).json()
        by_stow, by_post, by_dicom = (images[start::3] for start in range(3))
        senders = [pool.submit(stow_each, server, by_stow, Receipts())]
        senders += [pool.submit(post_each, server, by_post[half::2], Receipts()) for half in (0, 1)]
        senders += [
            pool.submit(store_by_storescu, server, by_dicom[part::4], tmp_path / str(part))
            for part in range(4)
        ]
        for sender in senders:
            sender.result()
        until(lambda: sees(server, images), "all is visible", 60)
    after = requests.get(f"{server.url}/statistics", auth=server.admin, timeout=60).json()
    assert after["CountInstances"] - before["CountInstances"] == len(images)
    assert errors(server) == []
    second = [size for count, size in samples if 500 <= count - before["CountInstances"] < 1000]
    last = [size for count, size in samples if count - before["CountInstances"] >= 1500]
    growth = statistics.median(last) - statistics.median(second)
    print(f"memory: {memory(samples)} growth {growth / MEGABYTE:.0f} MB")
    assert growth < 50 * MEGABYTE


def mixed_images(number: int) -> list[Image]:
    """CT images in studies of 50: one in ten of 0.5 MB, three in ten of 0.13 MB, the rest small."""
    studies = [new_uid() for _ in range(number // 50)]
    sides = [512, 256, 256, 256, 64, 64, 64, 64, 64, 64]
    return [ct_image(sides[index % 10], study=studies[index // 50]) for index in range(number)]


def memory(samples: Sequence[tuple[int, int]]) -> str:
    """What was sampled, in a line for the report of the test."""
    step = max(1, len(samples) // 12)
    return ", ".join(f"{count}: {size // MEGABYTE} MB" for count, size in samples[::step])


# -- memory ------------------------------------------------------------------------------------------------


def check_that_memory_settles(peak: Callable[[], int], most: int) -> None:
    """Each `peak` does the same again, and gives the most memory on the way; once it may not be `most` more.

    What is never freed grows on. The C library's arenas grow too, but in steps, and only until many threads
    have had their turn.
    """
    peaks = [peak(), peak()]
    while peaks[-1] - peaks[-2] >= most and len(peaks) < 6:
        peaks.append(peak())
    print(f"memory: {[size // MEGABYTE for size in peaks]} MB")
    assert peaks[-1] - peaks[-2] < most, f"it grows on: {peaks} KB"


def test_large_instances_by_stow_leave_nothing_in_memory(server: Server) -> None:
    """Objects dropped on the HTTP threads' small stacks must be freed; see `host.threads.StackGuard`."""

    def peak_of_350_megabytes() -> int:
        sizes = []
        for _ in range(7):
            stow_each(server, [ct_image(1024) for _ in range(25)], Receipts(), at_once=5)
            sizes.append(resident_kilobytes(server))
        return max(sizes)

    check_that_memory_settles(peak_of_350_megabytes, 40 * MEGABYTE)


def test_a_streamed_answer_gathers_nothing(server: Server, large_study: list[Image]) -> None:
    def download() -> tuple[int, int]:
        peak = received = 0
        url = f"{server.url}{RESEARCH}/studies/{large_study[0].study}"
        with requests.get(url, auth=server.researcher, stream=True, timeout=60) as answer:
            assert answer.status_code == 200
            for number, part in enumerate(answer.iter_content(1 << 18)):
                received += len(part)
                if number % 20 == 0:
                    peak = max(peak, resident_kilobytes(server))
        assert received > sum(len(image.data) for image in large_study)
        return peak, resident_kilobytes(server)

    found = [download() for _ in range(8)]
    print(f"memory: peak and after each {[(peak // MEGABYTE, after // MEGABYTE) for peak, after in found]}")
    # The first downloads find the allocator as other tests left it.
    (earlier, after_earlier), (later, _) = (
        map(max, zip(*some, strict=True)) for some in (found[2:5], found[5:])
    )
    assert later - after_earlier < 60 * MEGABYTE, "of 200 MB sent at once"
    assert later - earlier < 40 * MEGABYTE, "of 600 MB sent in all"


# -- clients that go, and answers that break ---------------------------------------------------------------


def ask(server: Server, path: str) -> socket.socket:
    """A connection on which a researcher has asked for `path`, and has read nothing yet."""
    connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=60)
    credentials = base64.b64encode(":".join(server.researcher).encode()).decode()
    head = f"GET {RESEARCH}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection, orderly or not."""
    received = bytearray()
    try:
        while part := connection.recv(1 << 20):
            received += part
    except ConnectionResetError:
        pass
    connection.close()
    return bytes(received)


def test_clients_that_leave_in_mid_download_leave_nothing_behind(
    server: Server, large_study: list[Image]
) -> None:
    path = f"/studies/{large_study[0].study}"

    def peak_of_40_clients() -> int:
        sizes = []
        for number in range(40):
            connection = ask(server, path)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            connection.recv(1 << 20)
            if number % 2:
                # Reset, as when the client's machine goes away.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            sizes.append(resident_kilobytes(server))
        return max(sizes)

    # Each of the 40 had 2 MB or more under way.
    check_that_memory_settles(peak_of_40_clients, 40 * MEGABYTE)
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(research, server, path + "/instances", limit=1000) for _ in range(16)]
        for answer in answers:
            assert len(answer.result().json()) == len(large_study)


def test_clients_that_read_no_further_keep_nobody_else_waiting(
    server: Server, large_study: list[Image]
) -> None:
    stalled = [ask(server, f"/studies/{large_study[0].study}") for _ in range(12)]
    try:
        for connection in stalled:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        answer = requests.get(f"{server.url}/provenance/api/status", auth=server.admin, timeout=10)
        assert answer.status_code == 200
        assert visible(server)
    finally:
        for connection in stalled:
            connection.close()


def test_an_answer_that_breaks_off_never_looks_complete(
    server: Server, large_study: list[Image], broken: Path
) -> None:
    path = f"/studies/{large_study[0].study}"
    whole = read_to_end(ask(server, path))
    assert whole.endswith(b"\r\n0\r\n\r\n")
    broken.touch()
    try:
        cut = read_to_end(ask(server, path))
        assert cut.startswith(b"HTTP/1.1 200 ")
        assert len(cut) < len(whole)
        assert not cut.endswith(b"0\r\n\r\n")
        boundary = re.search(rb"boundary=([0-9a-f]+)", cut)
        assert boundary is not None
        assert b"--" + boundary.group(1) + b"--" not in cut
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            researcher(server).retrieve_study(large_study[0].study)
        # Of a short answer nothing has been sent yet when it breaks.
        answer = research(server, path + "/metadata")
        assert answer.status_code == 500
        assert "broken on purpose" not in answer.text
    finally:
        broken.unlink()
    assert len(researcher(server).retrieve_study(large_study[0].study)) == len(large_study)
