from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import LaunchError, machine, process, roots
from launch.ports import Ports, is_free

LOG = """\
W1120 23:50:59.801279             MAIN python:/PythonLock.cpp:358] Program name: /usr/sbin/Orthanc
E1120 23:50:59.934226             MAIN python:/Plugin.cpp:463] Error during the installation, traceback:
<class 'orthanc_provenance.errors.ConfigurationError'>
"Python.AllowThreads" is missing
set it to true

  File "/somewhere/provenance.py", line 3, in <module>

E1120 23:50:59.934277             MAIN PluginsManager.cpp:92] Error while initializing plugin x.so (code -1)
E1120 23:50:59.934520             MAIN main.cpp:2159] Uncaught exception, stopping now: [Error] (code 25)
W1120 23:50:59.934549             MAIN main.cpp:2190] Orthanc has stopped
"""
UNTOLD = """\
E1121 00:19:14.811316             MAIN ServerContext.cpp:532] INTERNAL ERROR: Stop() should be invoked
E1121 00:19:15.319432             MAIN main.cpp:2159] Uncaught exception, stopping now: [Bad file] (code 15)
"""


@pytest.fixture
def ports() -> Iterator[Ports]:
    made = Ports()
    yield made
    made.close()


def test_a_refusal_of_the_plugin_is_told_by_type_and_message() -> None:
    assert process.errors_in(LOG) == ['ConfigurationError: "Python.AllowThreads" is missing set it to true']


def test_the_last_resort_is_orthancs_own_last_error() -> None:
    assert process.errors_in(UNTOLD) == ["Uncaught exception, stopping now: [Bad file] (code 15)"]


def test_warnings_are_no_errors() -> None:
    assert process.errors_in(LOG.splitlines()[0]) == []


def test_an_orthanc_that_ended_is_reported_in_one_line_with_its_log() -> None:
    text = str(process.why_it_ended(255, LOG, Path("/data/orthanc.log")))
    assert "\n" not in text
    assert "exit status 255" in text
    assert "AllowThreads" in text
    assert "see /data/orthanc.log" in text


def test_an_orthanc_that_said_nothing_is_reported_too() -> None:
    assert "signal 9" in str(process.why_it_ended(-9, "", Path("/l")))


def test_missing_rights_to_mount_are_told_as_such() -> None:
    log = "unshare: unshare failed: Operation not permitted\n"
    assert "SYS_ADMIN" in str(process.why_it_ended(1, log, Path("/l")))


def test_a_cached_orthanc_is_started_in_private_mounts_with_the_kept_paths() -> None:
    installation = roots.Installation(Path("/cache/root"), Path("/usr/sbin/Orthanc"), (), "3.13")
    words = process.command(installation, Path("/data/c.json"), [Path("/usr/src/x")], verbose=True)
    assert words[:2] == ["unshare", "--mount"]
    assert words[-6:] == ["/cache/root", "1", "/usr/src/x", "/usr/sbin/Orthanc", "--verbose", "/data/c.json"]


def test_an_orthanc_of_the_machine_is_started_as_it_is() -> None:
    installation = roots.Installation(None, Path("/opt/Orthanc"), (), "3.13")
    words = process.command(installation, Path("/data/c.json"), [], verbose=False)
    assert words == ["/opt/Orthanc", "/data/c.json"]


def test_variables_for_orthanc_pass_and_foreign_libraries_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC__PROVENANCE__STAMP", "None")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/other")
    cached = roots.Installation(Path("/cache/root"), Path("/usr/sbin/Orthanc"), (), "3.13")
    env = process.environment(cached, Path("/site"), {"EXTRA": "1"})
    assert env["ORTHANC__PROVENANCE__STAMP"] == "None"
    assert env["EXTRA"] == "1"
    assert "LD_LIBRARY_PATH" not in env
    assert env["PYTHONPATH"] == f"{machine.CHECKOUT / 'plugin'}:/site"
    ours = roots.Installation(None, Path("/opt/Orthanc"), (), "3.13")
    assert process.environment(ours, Path("/site"), {})["LD_LIBRARY_PATH"] == "/usr/lib/other"


def test_a_listening_port_is_refused_with_its_option(ports: Ports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        assert not is_free(number)
        with pytest.raises(LaunchError, match=rf"HTTP port {number} is already in use.*--http-port"):
            ports.take(number, "HTTP", "--http-port")


def test_zero_picks_free_ports_that_differ(ports: Ports) -> None:
    taken = [ports.take(0, "any", "--any") for _ in range(20)]
    assert len(set(taken)) == 20
    assert all(taken)


def test_a_held_port_can_be_listened_on_by_its_owner(ports: Ports) -> None:
    number = ports.take(0, "HTTP", "--http-port")
    with socket.create_server(("127.0.0.1", number)) as owner:
        assert owner.getsockname()[1] == number


def test_an_exclusive_port_held_by_another_start_is_refused(ports: Ports) -> None:
    number = ports.take(0, "research DICOM", "--research-dicom-port", exclusive=True)
    other = Ports()
    with pytest.raises(LaunchError, match="research DICOM"):
        other.take(number, "research DICOM", "--research-dicom-port", exclusive=True)
    ports.close()
    assert other.take(number, "research DICOM", "--research-dicom-port", exclusive=True) == number
    other.close()


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Orthanc 1.12.7", (1, 12, 7)),
        ("/usr/sbin/Orthanc 1.13.0", (1, 13, 0)),
        ("Orthanc mainline (x)", None),
    ],
)
def test_the_version_of_an_orthanc_is_read_from_itself(
    tmp_path: Path, said: str, version: tuple[int, ...] | None
) -> None:
    binary = tmp_path / "Orthanc"
    binary.write_text(f"#!/bin/sh\necho '{said}'\n")
    binary.chmod(0o755)
    assert roots.version_of(binary) == version or (version is None and roots.version_of(binary) > (99,))


@pytest.mark.parametrize(
    ("said", "told"), [("1.12.6", "older than 1.12.7"), ("1.12.7", "no Python plugin"), ("", "no version")]
)
def test_an_unfit_orthanc_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    monkeypatch.setattr(roots, "_PLUGIN_FOLDERS", ())
    binary = tmp_path / "bin" / "Orthanc"
    binary.parent.mkdir()
    binary.write_text(f"#!/bin/sh\necho 'Orthanc {said}'\n")
    binary.chmod(0o755)
    with pytest.raises(LaunchError, match=told):
        roots.choose(str(tmp_path))


def test_a_path_without_an_orthanc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="there is no Orthanc at"):
        roots.choose(str(tmp_path / "none"))


def test_the_last_error_line_of_a_tool_is_the_one_told() -> None:
    assert machine.last_error("I: fine\nE: broken\nW: bye\n") == "E: broken"
    assert machine.last_error("one\ntwo\n") == "two"
    assert machine.last_error("") == "it said nothing"


def test_a_launch_error_is_one_line_with_the_way_out() -> None:
    assert str(LaunchError("a\nb", "c  d")) == "a b; do c d"
