"""The launcher on real Orthancs: `scripts/run` as a person meets it, `running_orthanc` as tests do."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from launch import LaunchError, Request, ServerFactory
from launch.machine import CHECKOUT


class Command:
    """`scripts/run` behind its bootstrap, with free ports unless told otherwise."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(CHECKOUT / "scripts" / "launcher.py"), *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)

    def ready(self) -> tuple[str, list[str]]:
        """The URL of the `ready` line, and the lines before it."""
        assert self.process.stdout is not None
        before: list[str] = []
        for line in self.process.stdout:
            if line.startswith("ready "):
                return line.split()[1], before
            before.append(line)
        raise AssertionError(self.process.stderr.read() if self.process.stderr else "")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal; returns the exit status."""
        self.process.send_signal(number)
        self.process.communicate(timeout=90)
        return self.process.returncode


@pytest.fixture
def arguments(orthanc_version: str, tmp_path: Path) -> list[str]:
    """Arguments for a start on a data folder of the test's own."""
    free = ["--http-port", "0", "--dicom-port", "0", "--research-dicom-port", "0"]
    return ["--orthanc", orthanc_version, "--data", str(tmp_path / "data"), *free]


@pytest.fixture
def run(arguments: list[str]) -> Iterator[Command]:
    """A start that is ended after the test."""
    command = Command(*arguments)
    yield command
    if command.process.poll() is None:
        command.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_the_users_and_ready_and_stops_cleanly_at_a_signal(
    arguments: list[str], tmp_path: Path, number: int
) -> None:
    pid_file = tmp_path / "pid"
    command = Command(*arguments, "--pid-file", str(pid_file))
    url, before = command.ready()
    users = {words[1]: words[3] for words in map(str.split, before)}
    assert list(users) == ["admin", "researcher"]
    assert requests.get(f"{url}system", timeout=10).status_code == 401
    assert requests.get(f"{url}system", auth=("admin", users["admin"]), timeout=10).status_code == 200
    orthanc = int(pid_file.read_text())
    assert command.end(number) == 0
    assert not Path(f"/proc/{orthanc}").exists()
    assert not pid_file.exists()
    assert "Orthanc has stopped" in (tmp_path / "data" / "orthanc.log").read_text()


def test_a_second_start_on_the_same_data_is_refused_and_the_first_goes_on(
    run: Command, arguments: list[str]
) -> None:
    url, _ = run.ready()
    second = Command(*arguments)
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode == 2
    assert errors.startswith("error: the data folder")
    assert errors.count("\n") == 1
    assert requests.get(f"{url}system", timeout=10).status_code == 401


def test_orthanc_ends_when_its_launcher_is_killed(arguments: list[str], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = Command(*arguments, "--pid-file", str(pid_file))
    command.ready()
    orthanc = os.pidfd_open(int(pid_file.read_text()))
    command.end(signal.SIGKILL)
    with open(orthanc, "rb", buffering=0) as descriptor:
        # Readable once the process has ended.
        assert select.select([descriptor], [], [], 90)[0]


def test_a_site_configuration_is_merged_and_not_touched(orthanc_version: str, tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    text = '{ // ours\n "Name": "site", "RegisteredUsers": {"ada": "secret"},} end'
    site.write_text(text)
    command = Command(
        "--config",
        str(site),
        "--orthanc",
        orthanc_version,
        "--data",
        str(tmp_path / "data"),
        "--http-port",
        "0",
        "--dicom-port",
        "0",
    )
    url, before = command.ready()
    assert before == [], "no passwords were made: the site has its own users"
    system = requests.get(f"{url}system", auth=("ada", "secret"), timeout=10).json()
    plugins = requests.get(f"{url}plugins", auth=("ada", "secret"), timeout=10).json()
    assert command.end() == 0
    assert system["Name"] == "site"
    assert {"python", "dicom-web", "gdcm"} <= set(plugins)
    assert site.read_text() == text


def test_a_plugin_that_refuses_to_start_is_reported_in_its_own_words(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    script = tmp_path / "refuses.py"
    script.write_text("import orthanc\nraise ValueError('the reason')\n")
    with pytest.raises(LaunchError, match="ValueError: the reason"), server_factory(script=script):
        pass


def test_a_taken_port_is_refused_before_anything_starts(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        request = Request(http_port=other.getsockname()[1], dicom_port=0, research_dicom_port=0)
        with pytest.raises(LaunchError, match="--http-port"), server_factory(data=tmp_path, request=request):
            pass
    assert not (tmp_path / "orthanc.log").exists()


def test_a_killed_orthanc_starts_again_on_its_data_and_ports(server_factory: ServerFactory) -> None:
    with server_factory() as server:
        first, url = server.pid, server.url
        server.kill()
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{url}/system", timeout=10)
        server.restart()
        assert server.url == url
        assert server.pid != first
        assert requests.get(f"{url}/system", auth=server.admin, timeout=10).status_code == 200
        assert server.stop() == 0


def test_without_the_plugin_it_is_the_same_orthanc_bare(server_factory: ServerFactory) -> None:
    with server_factory(plugin=False) as bare:
        plugins = requests.get(f"{bare.url}/plugins", auth=bare.admin, timeout=10).json()
        version = requests.get(f"{bare.url}/system", auth=bare.admin, timeout=10).json()["Version"]
    assert "python" not in plugins
    assert "dicom-web" in plugins
    with server_factory() as server:
        assert "python" in requests.get(f"{server.url}/plugins", auth=server.admin, timeout=10).json()
        assert (
            requests.get(f"{server.url}/system", auth=server.admin, timeout=10).json()["Version"] == version
        )


def test_a_mapping_is_laid_over_the_shipped_configuration(server_factory: ServerFactory) -> None:
    with server_factory(config={"Name": "over", "DicomAet": None}) as server:
        system = requests.get(f"{server.url}/system", auth=server.admin, timeout=10).json()
    assert system["Name"] == "over"
    assert server.config["Provenance"]["Routes"]["research"]["Users"] == ["researcher"]


def test_no_mount_of_ours_is_seen_outside(shared_server: object) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "orthanc-provenance/orthanc-1" not in mounts
