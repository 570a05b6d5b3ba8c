"""Fixtures for tests that run a real Orthanc, and the place of the real DICOM files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "scripts"))
# What tests make objects of is shared by the suites; pytest itself adds only the folders that it collects.
sys.path.append(str(CHECKOUT / "tests" / "unit"))

if TYPE_CHECKING:
    from launch import Server, ServerFactory


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test on an Orthanc runs on each version in PROVENANCE_ORTHANC, by default on both."""
    if "orthanc_version" in metafunc.fixturenames:
        metafunc.parametrize("orthanc_version", _versions(), scope="session")


def _versions() -> list[str]:
    return [name.strip() for name in os.environ.get("PROVENANCE_ORTHANC", "1.12,1.13").split(",")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a server needs an Orthanc: `-m "not orthanc"` leaves these out."""
    for item in items:
        if "orthanc_version" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.orthanc)


class OneProcessPerVersion(LoadScopeScheduling):
    """All tests on one version of Orthanc go to one process, which starts its shared servers once."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, parameters = nodeid.partition("[")
        parts = parameters.removesuffix("]").split("-")
        return next((version for version in _versions() if version in parts), file.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneProcessPerVersion:
    """How processes share the tests: by version, the others by file."""
    return OneProcessPerVersion(config, log)


@pytest.fixture(scope="session")
def server_factory(orthanc_version: str) -> ServerFactory:
    """`with server_factory(config={...}) as server:` runs the Orthanc under test; see `running_orthanc`.

    By default on a data folder of its own that is removed at the end, on free ports, with our plugin.
    """
    from launch import running_orthanc

    return partial(running_orthanc, orthanc_version)


@pytest.fixture(scope="session")
def shared_server(server_factory: ServerFactory) -> Iterator[Server]:
    """One server with the shipped configuration, for tests that do not mind what others stored in it."""
    with server_factory() as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real DICOM files: PROVENANCE_TEST_DATA, else ../shared/data beside the project."""
    folder = Path(os.environ.get("PROVENANCE_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real DICOM files in {folder}: set PROVENANCE_TEST_DATA to a folder that has some")
    return folder
