"""Studies downloaded from the research root and from Orthanc's own on the same server, alternating."""

from __future__ import annotations

import argparse
import itertools
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


@dataclass(frozen=True)
class Download:
    """What one download took: bytes, seconds in all, seconds to the first byte, and more memory in MB."""

    size: int
    seconds: float
    first: float
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
    with running_orthanc(options.orthanc, config={"MaximumStorageCacheSize": options.cache}) as server:
        _store(server, itertools.islice(small, _SMALL))
        _store(server, itertools.islice(made, count))
        studies = _wait(server, _SMALL + count)
        large = max(studies, key=lambda study: studies[study])
        other = min(studies, key=lambda study: studies[study])
        print(f"a study of {count} CT images of 0.5 MB, as stored, in MB a second")
        found = _alternate(server, large, options.rounds)
        medians = {name: statistics.median(_rate(one) for one in some) for name, some in found.items()}
        print(f"  ratio {medians[_RESEARCH] / medians[_OWN]:.2f}")
        print(f"a study of {_SMALL}")
        _alternate(server, other, options.rounds * 4)
    return 0


def _alternate(server: Server, study: str, rounds: int) -> dict[str, list[Download]]:
    found: dict[str, list[Download]] = {name: [] for name in _ROOTS}
    for _ in range(rounds):
        for name in _ROOTS:
            found[name].append(_download(server, name, study))
    for name, some in found.items():
        each = "  ".join(f"{_rate(one):.0f}" for one in some[:8])
        first = [one.first * 1000 for one in some]
        print(
            f"  {name:14} {each}   median {statistics.median(_rate(one) for one in some):.0f}; "
            f"first byte after {statistics.median(first):.1f} ms (at most {max(first):.1f}); "
            f"at most {max(one.grown for one in some):.0f} MB more",
            flush=True,
        )
    return found


def _download(server: Server, name: str, study: str) -> Download:
    """By curl, which costs the least on a machine that server and client share."""
    root, user = _ROOTS[name]
    credentials = server.admin if user == "admin" else server.researcher
    idle = _megabytes(server)
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
    return Download(int(size), float(seconds), float(first), max(peak) - idle)


def _rate(one: Download) -> float:
    return one.size / 1e6 / one.seconds


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
