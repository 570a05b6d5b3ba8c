"""Instances stored per second with the plugin and without it, the two alternating in one run."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from launch.server import Server
from launch.start import running_orthanc

from . import images

NAME = "ingest"
_REST_SENDERS = 4
_ASSOCIATIONS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--orthanc", default="1.12", help="as for scripts/run (default 1.12)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per server and way (default 5)")
    parser.add_argument("--count", type=int, default=400, help="images per round (default 400)")


def run(options: argparse.Namespace) -> int:
    """Print the rates of each round, their medians, and the ratio of these."""
    made = images.numbered(images.ct_template())
    with (
        running_orthanc(options.orthanc, plugin=False) as bare,
        running_orthanc(options.orthanc) as gated,
    ):
        servers = {"without": bare, "with": gated}
        for way, send in (("4 REST senders", _by_rest), ("10 C-STORE associations", _by_c_store)):
            rates: dict[str, list[float]] = {name: [] for name in servers}
            used = {name: -_cpu_seconds(server) for name, server in servers.items()}
            for _ in range(options.rounds):
                for name, server in servers.items():
                    images_now = list(itertools.islice(made, options.count))
                    rates[name].append(_rate(server, send, images_now))
            for name, server in servers.items():
                used[name] += _cpu_seconds(server)
            _print(way, rates, {name: used[name] / options.rounds / options.count for name in used})
    return 0


def _rate(server: Server, send: Callable[[Server, list[bytes]], float], some: list[bytes]) -> float:
    before = _count(server)
    seconds = send(server, some)
    if _count(server) - before != len(some):
        raise SystemExit(f"error: not every image was stored; see {server.log_path}")
    _wait_until_idle(server)
    return len(some) / seconds


def _by_rest(server: Server, some: list[bytes]) -> float:
    """POST /instances by requests, one process and session each."""
    shares = [some[start::_REST_SENDERS] for start in range(_REST_SENDERS)]
    go = multiprocessing.Event()
    senders = [multiprocessing.Process(target=_post, args=(server, share, go)) for share in shares]
    return _timed(senders, go)


def _post(server: Server, share: list[bytes], go: multiprocessing.synchronize.Event) -> None:
    with requests.Session() as session:
        session.auth = server.admin
        go.wait()
        for data in share:
            session.post(f"{server.url}/instances", data=data, timeout=60).raise_for_status()


def _timed(processes: list[multiprocessing.Process], go: multiprocessing.synchronize.Event) -> float:
    for process in processes:
        process.start()
    time.sleep(0.3)
    start = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
    return time.perf_counter() - start


def _by_c_store(server: Server, some: list[bytes]) -> float:
    """storescu (DCMTK), one process and association each."""
    with tempfile.TemporaryDirectory() as folder:
        groups = []
        for number in range(_ASSOCIATIONS):
            group = Path(folder) / str(number)
            group.mkdir()
            for index, data in enumerate(some[number::_ASSOCIATIONS]):
                (group / f"{index}.dcm").write_bytes(data)
            groups.append(group)
        start = time.perf_counter()
        senders = [
            subprocess.Popen(
                ["storescu", "-aec", "ORTHANC", "+sd", "127.0.0.1", str(server.dicom_port), str(group)]
            )
            for group in groups
        ]
        if any(sender.wait() for sender in senders):
            raise SystemExit("error: a storescu failed")
        return time.perf_counter() - start


def _count(server: Server) -> int:
    answer = requests.get(f"{server.url}/statistics", auth=server.admin, timeout=30)
    return int(answer.json()["CountInstances"])


def _wait_until_idle(server: Server) -> None:
    """Let index, labels and metadata catch up, so that no round pays for the one before."""
    answer = requests.get(f"{server.url}/provenance/api/status", auth=server.admin, timeout=30)
    while answer.ok and (answer.json()["pending_instances"] or answer.json()["studies_to_mirror"]):
        time.sleep(0.5)
        answer = requests.get(answer.url, auth=server.admin, timeout=30)
    time.sleep(0.5)


def _cpu_seconds(server: Server) -> float:
    """Processor time that the server has used so far: steadier than rates on a machine that does more."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(way: str, rates: dict[str, list[float]], used: dict[str, float]) -> None:
    medians = {name: statistics.median(some) for name, some in rates.items()}
    print(f"\n{way}, 0.5 MB CT, instances per second")
    for name, some in rates.items():
        each = "  ".join(f"{rate:6.1f}" for rate in some)
        print(
            f"  {name:8} the plugin: {each}   median {medians[name]:.1f}   "
            f"{used[name] * 1000:.2f} ms of processor time each"
        )
    print(f"  ratio {medians['with'] / medians['without']:.2f}", flush=True)
