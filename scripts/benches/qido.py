"""How long a search with a provenance filter takes on an index that `fill` made: 50 results, as JSON.

Measured in this process, at the web application that Orthanc's bridge calls: all but HTTP itself. Beside the
time on the clock stands that of the processor, which other work on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Flask

from orthanc_provenance.config import Route, Settings
from orthanc_provenance.doors.services import Services
from orthanc_provenance.gate import Gate
from orthanc_provenance.index.pending import Pending
from orthanc_provenance.index.schema import open_engine
from orthanc_provenance.web.app import create_app

from .templates import GENERATORS, MODALITIES

NAME = "qido"
_TARGET = 20.0  # The 95th percentile at 1,000,000 studies, in ms, and at most twice that of 10,000.
_TARGET_RATIO = 2.0
_FILTERS = (
    *({"SyntheticData": word} for word in ("YES", "NO")),
    *({"ProvenanceState": word} for word in ("original", "privacy-protected", "ai-derived", "non-image")),
    {"ProvenanceState": "ai-derived,privacy-protected"},
    {"ProvenanceState": "ai-generated,simulated"},
    *({"ProvenanceOrigin": word} for word in ("acquired", "ai-derived")),
    *({"IdentityRemoved": "YES"}, {"IdentityRemoved": "NO"}, {"Defaced": "YES"}),
    *({"Generator": name} for name in GENERATORS[:3]),
    {"Declaration": "https://example.org/none"},
    {"SyntheticData": "YES", "Generator": GENERATORS[0]},
    {"ProvenanceState": "original", "IdentityRemoved": "NO", "SyntheticData": "NO"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("folder", type=Path, nargs="+", help="folders that `fill` filled")
    parser.add_argument("--count", type=int, default=1000, help="queries at each level (default 1000)")


def run(options: argparse.Namespace) -> int:
    """Print the 50th, 95th and 100th percentile by folder and level, and the ratio to the first folder."""
    first: dict[str, float] = {}
    for folder in options.folder:
        app = _app(folder)
        for level in ("studies", "series", "instances"):
            times = [_timed(app, level, query) for query in queries(options.count)]
            cuts = statistics.quantiles([one.clock for one in times], n=100)
            busy = statistics.quantiles([one.processor for one in times], n=100)
            slowest = max(times)
            ratio = cuts[94] / first.setdefault(level, cuts[94])
            print(
                f"{folder}, {level}: median {cuts[49]:.1f} ms, 95th percentile {cuts[94]:.1f} ms "
                f"(target at 1,000,000: {_TARGET:.0f}), {ratio:.2f} times that of {options.folder[0]} "
                f"(target {_TARGET_RATIO:.0f}); of the processor {busy[49]:.1f} and {busy[94]:.1f} ms; "
                f"longest {slowest.clock:.1f} ms ({slowest.query})",
                flush=True,
            )
    return 0


class _Time(NamedTuple):
    """What one query took, in ms: on the clock, and of the processor."""

    clock: float
    processor: float
    query: str


def _timed(app: Flask, level: str, query: str) -> _Time:
    start, used = time.perf_counter(), time.thread_time()
    answer = app.test_client().get(
        f"{Route().dicom_web_root}/{level}?{query}", environ_overrides={"REMOTE_USER": "researcher"}
    )
    took = _Time((time.perf_counter() - start) * 1000, (time.thread_time() - used) * 1000, query)
    if answer.status_code != 200:
        raise SystemExit(f"error: {query}: {answer.text}")
    return took


def queries(count: int) -> Iterator[str]:
    """Queries with one or more provenance filters, every third with a key besides; the same in every run."""
    chance = random.Random(count)
    for number in range(count):
        query = {**_FILTERS[number % len(_FILTERS)], "limit": "50"}
        key = chance.randrange(12)
        year = chance.randint(2008, 2025)
        if key == 0:
            query["StudyDate"] = f"{year}0101-{year}1231"
        elif key == 1:
            query["StudyDate"] = f"{year}0301-{year}0331"
        elif key == 2:
            query["ModalitiesInStudy"] = chance.choice(MODALITIES)
        elif key == 3:
            query["PatientID"] = f"P{chance.randrange(3000):09d}"
        if chance.randrange(4) == 0:
            query["offset"] = str(50 * chance.randrange(10))
        yield urlencode(query)


def _app(folder: Path) -> Flask:
    engine = open_engine("", folder)
    gate = Gate(engine, Pending(), lambda: "")

    def none(_instance: str) -> bytes:
        raise NotImplementedError("nothing is retrieved here")

    services = Services(Settings(), gate, none, lambda data, _row: data)
    return create_app(services, engine, dict)
