"""How long the callback holds an instance that arrives, where that time goes, and what memory it takes."""

from __future__ import annotations

import argparse
import gc
import hashlib
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.encode import NewElement
from orthanc_provenance.dicom.header import Header, read_header
from orthanc_provenance.dicom.splice import splice
from orthanc_provenance.evidence.catalogue import load_catalogue
from orthanc_provenance.host.fake import FakeOrthanc
from orthanc_provenance.host.plugin import register
from orthanc_provenance.intake import Intake, assess_received
from orthanc_provenance.stamp.elements import block_elements, public_elements
from orthanc_provenance.stamp.keys import open_keys
from orthanc_provenance.stamp.subject import subject_of

from . import images

NAME = "stamp"
_ELEMENTS = 260
_TARGETS = {"median": 1.7, "95th percentile": 3.0}
_COPIES = 2.0
_MEBIBYTE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--count", type=int, default=1000, help="CT images per round (default 1000)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)"
    )
    parser.add_argument("--large", type=int, default=500, help="MB of the multi-frame object (default 500)")


def run(options: argparse.Namespace) -> int:
    """Print callback times beside the floor of the same run, their parts, the memory, and a large object."""
    template = images.with_elements(images.ct_template(), _ELEMENTS)
    print(f"CT, 512x512, 16 bit, {_ELEMENTS} elements in its data set, signed stamps")
    with _host() as host:
        made = images.numbered(template)
        rounds = [_round(host, list(islice(made, options.count))) for _ in range(options.rounds)]
        _print_times(rounds)
        _print_parts(list(islice(made, options.count)))
        _print_memory(host, next(made))
        _print_large(host, options.large)
    return 0


@contextmanager
def _host() -> Iterator[FakeOrthanc]:
    """The whole plugin, its index and its threads, in a host that costs nothing itself."""
    with tempfile.TemporaryDirectory() as folder:
        host = FakeOrthanc(
            {
                "IndexDirectory": folder,
                "Python": {"AllowThreads": True},
                "AuthenticationEnabled": True,
            }
        )
        register(host)
        host.start()
        try:
            yield host
        finally:
            host.stop()


def _round(host: FakeOrthanc, some: list[bytes]) -> dict[str, list[float]]:
    """Milliseconds of the callback and of the floor for each image, the two alternating."""
    taken: dict[str, list[float]] = {"floor": [], "callback": []}
    for data in some:
        taken["floor"].append(_milliseconds(lambda data=data: _floor(data)))  # type: ignore[misc]
        taken["callback"].append(_milliseconds(lambda data=data: host.receive(data)))  # type: ignore[misc]
    return taken


def _floor(data: bytes) -> None:
    """What any gateway that replaces an object and knows its pixels again must do: copy it, and digest it."""
    bytearray(data)
    hashlib.sha256(data).digest()


def _milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def _print_times(rounds: list[dict[str, list[float]]]) -> None:
    def middle(name: str, of: Callable[[list[float]], float]) -> float:
        return statistics.median(of(each[name]) for each in rounds)

    of = {"median": statistics.median, "95th percentile": lambda some: statistics.quantiles(some, n=20)[-1]}
    base = middle("floor", of["median"])
    for name, target in _TARGETS.items():
        floor, callback = middle("floor", of[name]), middle("callback", of[name])
        print(
            f"  {name:16} floor {floor:.3f} ms   callback {callback:.3f} ms   "
            f"{callback / base:.2f} times the median floor (at most {target})"
        )


def _print_parts(some: list[bytes]) -> None:
    """Where the time goes, each part measured alone."""
    catalogue = load_catalogue(None)
    with tempfile.TemporaryDirectory() as folder:
        keys = open_keys("", Path(folder))
    if keys is None:
        raise SystemExit("error: no signing key could be made")
    signer, intake = keys.signer, Intake(catalogue, "All")
    headers = [read_header(data) for data in some]
    assessment, digest = assess_received(headers[0], catalogue), pixel_digest(headers[0])
    revision = catalogue.revision

    def sign(header: Header) -> bytes:
        return signer.sign(assessment, subject_of(header, digest), revision)

    statement = sign(headers[0])

    def elements(header: Header) -> dict[int, NewElement]:
        block = block_elements(header, assessment, revision, digest, statement)
        return {**public_elements(header, assessment, revision), **block}

    added = elements(headers[0])
    print("  where it goes, each part alone (median)")
    for name, part in (
        ("header", lambda header: read_header(header.buffer)),
        ("evidence and assessment", lambda header: assess_received(header, catalogue)),
        ("record for the index", lambda header: intake.record(header, assessment)),
        ("digest of the pixels", pixel_digest),
        ("signature", sign),
        ("elements of the stamp", elements),
        ("splicing them in", lambda header: splice(header, added)),
    ):
        print(f"    {name:24} {_median(part, headers):.3f} ms")


def _median(part: Callable[[Header], object], headers: Iterable[Header]) -> float:
    return statistics.median(_milliseconds(lambda header=header: part(header)) for header in headers)  # type: ignore[misc]


def _print_memory(host: FakeOrthanc, data: bytes) -> None:
    gc.collect()
    tracemalloc.start()
    host.receive(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"  memory that the callback takes for it: {peak / len(data):.2f} times its size (at most 2)")


def _print_large(host: FakeOrthanc, megabytes: int) -> None:
    data = images.multi_frame(megabytes * _MEBIBYTE)
    copy = statistics.median(_milliseconds(lambda: bytearray(data)) for _ in range(3))
    held = statistics.median(_milliseconds(lambda: host.receive(data)) for _ in range(3))
    print(
        f"  a multi-frame of {len(data) / _MEBIBYTE:.0f} MB: memory copy {copy:.1f} ms   "
        f"callback {held:.1f} ms   {held / copy:.2f} times (at most {_COPIES})"
    )
