"""Studies downloaded from the research root and from Orthanc's own on the same server, alternating.

Beside the rate on the clock stands the time of the processor that the server took, which other work on the
machine does not stretch. Memory is what Orthanc's process holds more than before the download.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import requests

from launch.server import Server
from launch.start import running_orthanc

from . import images

NAME = "dicomweb"
_OWN, _RESEARCH = "Orthanc's own", "research"
_ROOTS = {_OWN: ("/dicom-web", "admin"), _RESEARCH: ("/research/dicom-web", "researcher")}
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_SAMPLE_SECONDS = 0.02
_SMALL = 10
_RATIO, _FIRST_MS, _MORE_MB = 0.9, 50, 100  # What is asked of the research root.


@dataclass(frozen=True)
class Download:
    """What one download took: bytes, seconds in all, to the first byte and of the processor, and MB more."""

    size: int
    seconds: float
    first: float
    processor: float
    grown: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--orthanc", default="1.12", help="as for scripts/run (default 1.12)")
    parser.add_argument("--rounds", type=int, default=5, help="downloads from each root (default 5)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the study (default 1)")
    parser.add_argument(
        "--cache",
        type=int,
        default=128,
        help="Orthanc's MaximumStorageCacheSize in MB (default 128; with 0 it keeps none)",
    )


def run(options: argparse.Namespace) -> int:
    """Print each download of a large study, the ratio of throughput, memory, and the time to a first byte."""
    template = images.ct_template()
    count = max(1, round(options.gigabytes * 1e9 / len(template)))
    made = images.numbered(template, per_study=count)
    small = images.numbered(template, per_study=_SMALL)
    config = {
        "MaximumStorageCacheSize": options.cache,
        # Orthanc's DICOMweb plugin reads a whole study once it is stable, for hundreds of MB at that moment.
        "DicomWeb": {"EnableMetadataCache": False},
    }
    with running_orthanc(options.orthanc, config=config) as server:
        _store(server, itertools.islice(small, _SMALL))
        _store(server, itertools.islice(made, count))
        studies = _wait(server, _SMALL + count)
        large = max(studies, key=lambda study: studies[study])
        other = min(studies, key=lambda study: studies[study])
        print(f"a study of {count} CT images of 0.5 MB, {options.gigabytes:g} GB, as stored, in MB a second")
        _print(_alternate(server, large, options.rounds), options.cache)
        print(f"a study of {_SMALL} (no target)")
        _print(_alternate(server, other, options.rounds * 4), options.cache)
    return 0


def _alternate(server: Server, study: str, rounds: int) -> dict[str, list[Download]]:
    found: dict[str, list[Download]] = {name: [] for name in _ROOTS}
    for _ in range(rounds):
        for name in _ROOTS:
            found[name].append(_download(server, name, study))
    return found


def _print(found: dict[str, list[Download]], cache: int) -> None:
    for name, some in found.items():
        first = [one.first * 1000 for one in some]
        grown = [one.grown for one in some]
        print(
            f"  {name:14} {'  '.join(f'{_rate(one):.0f}' for one in some[:8])}   "
            f"median {_median(some, 'rate'):.0f}; {_median(some, 'processor'):.3f} s of the processor; "
            f"first byte after {statistics.median(first):.1f} ms, at most {max(first):.1f}; "
            f"at first {grown[0]:.0f} MB more, then at most {max(grown[1:], default=0):.0f}",
            flush=True,
        )
    ratio = _median(found[_RESEARCH], "rate") / _median(found[_OWN], "rate")
    busy = _median(found[_RESEARCH], "processor") / max(_median(found[_OWN], "processor"), 1e-3)
    print(f"  ratio {ratio:.2f} (target {_RATIO} or more), of processor time {busy:.2f}")
    print(
        f"  targets of the research root: first byte below {_FIRST_MS} ms; at most {_MORE_MB} MB more, to "
        f"which Orthanc's storage cache adds up to {cache} MB until it is full (MaximumStorageCacheSize)"
    )


def _median(some: list[Download], what: str) -> float:
    return statistics.median(_rate(one) if what == "rate" else one.processor for one in some)


def _download(server: Server, name: str, study: str) -> Download:
    """By curl, which costs the least on a machine that server and client share."""
    root, user = _ROOTS[name]
    credentials = server.admin if user == "admin" else server.researcher
    idle, used = _megabytes(server), _processor_seconds(server)
    peak, done = [idle], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            peak.append(_megabytes(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--fail", "--config", "-", "--output", "/dev/null"),
            *("--write-out", "%{size_download} %{time_total} %{time_starttransfer}"),
            *("--header", f"Accept: {_ACCEPT}", f"{server.url}{root}/studies/{study}"),
        ],
        # Not on the command line, where every process could read it.
        input=f'user = "{credentials[0]}:{credentials[1]}"',
        capture_output=True,
        text=True,
        check=False,
    )
    done.set()
    watcher.join()
    if answer.returncode:
        raise SystemExit(f"error: the download failed: {answer.stderr.strip()}; see {server.log_path}")
    size, seconds, first = answer.stdout.split()
    used = _processor_seconds(server) - used
    return Download(int(size), float(seconds), float(first), used, max(peak) - idle)


def _rate(one: Download) -> float:
    return one.size / 1e6 / one.seconds


def _processor_seconds(server: Server) -> float:
    """Processor time that the server has used so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _store(server: Server, some: itertools.islice[bytes]) -> None:
    with requests.Session() as session:
        session.auth = server.admin
        for data in some:
            session.post(f"{server.url}/instances", data=data, timeout=60).raise_for_status()


def _wait(server: Server, count: int) -> dict[str, int]:
    """The number of instances by study, once research sees all of them and the server has come to rest."""
    while True:
        answer = requests.get(
            f"{server.url}/research/dicom-web/studies?limit=1000", auth=server.researcher, timeout=60
        )
        if answer.ok:
            found = {one["0020000D"]["Value"][0]: one["00201208"]["Value"][0] for one in answer.json()}
            if sum(found.values()) == count:
                break
        time.sleep(0.5)
    status = requests.get(f"{server.url}/provenance/api/status", auth=server.admin, timeout=30)
    while status.ok and (status.json()["pending_instances"] or status.json()["studies_to_mirror"]):
        time.sleep(0.5)
        status = requests.get(status.url, auth=server.admin, timeout=30)
    return found


def _megabytes(server: Server) -> float:
    """The memory that Orthanc holds: VmRSS of its process."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000
