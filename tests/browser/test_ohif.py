"""OHIF in a headless browser on the research root, as `scripts/run --viewer` serves it."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from launch.viewer import serving

if TYPE_CHECKING:
    from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

# Without a graphics card, and in a sandbox of its own where the machine is one already.
_ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_TIMEOUT = 60_000
RESEARCH = "/research/dicom-web"


@dataclass(frozen=True)
class Studies:
    """The Study Instance UIDs of what was stored."""

    ct: str
    mr: str
    derived: str
    blocked: str


@dataclass(frozen=True)
class Viewer:
    """Where the viewer is, who looks, and what there is to see."""

    url: str
    server: Server
    studies: Studies
    browser: Browser

    def open(self, path: str) -> Page:
        """A page of its own, as the researcher, who has typed user and password."""
        user, password = self.server.researcher
        context = self.browser.new_context(
            http_credentials={"username": user, "password": password},
            viewport={"width": 1400, "height": 900},
        )
        page = context.new_page()
        expect.set_options(timeout=_TIMEOUT)
        page.set_default_timeout(_TIMEOUT)
        page.goto(self.url + path)
        return page


@pytest.fixture(scope="module")
def viewer(server_factory: ServerFactory) -> Iterator[Viewer]:
    with server_factory() as server, serving(server, 0) as url, sync_playwright() as playwright:
        studies = Studies(
            ct=_store(server, _image("CT_small.dcm", "Scanned CT")),
            mr=_store(server, _image("MR_small.dcm", "Scanned MR")),
            derived=_store(server, _ai_derived()),
            blocked=_store(server, _generated()),
        )
        _wait_for(server, {studies.ct, studies.mr, studies.derived})
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_ARGUMENTS)
        yield Viewer(url, server, studies, browser)
        browser.close()


def test_the_study_list_shows_what_may_leave(viewer: Viewer, tmp_path: Path) -> None:
    page = viewer.open("")

    expect(page.get_by_text("Scanned CT")).to_be_visible()
    expect(page.get_by_text("Scanned MR")).to_be_visible()
    expect(page.get_by_text("Cleaned by AI")).to_be_visible()
    _keep(page, tmp_path, "list")
    assert page.get_by_text("Generated CT").count() == 0


def test_a_view_shows_what_its_filter_leaves(viewer: Viewer, tmp_path: Path) -> None:
    page = viewer.open("?datasources=not-synthetic")

    expect(page.get_by_text("Scanned CT")).to_be_visible()
    expect(page.get_by_text("Scanned MR")).to_be_visible()
    _keep(page, tmp_path, "filtered-list")
    assert page.get_by_text("Cleaned by AI").count() == 0


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_an_image_is_on_the_screen(viewer: Viewer, modality: str, tmp_path: Path) -> None:
    page = viewer.open(f"viewer?StudyInstanceUIDs={getattr(viewer.studies, modality)}")

    canvas = page.locator("canvas.cornerstone-canvas, .cornerstone-viewport-element canvas").first
    canvas.wait_for()
    _wait_until_painted(page, canvas)
    _keep(page, tmp_path, modality)


def test_a_blocked_study_is_nothing_by_its_direct_address(viewer: Viewer, tmp_path: Path) -> None:
    unknown = viewer.open(f"viewer?StudyInstanceUIDs={generate_uid()}")
    blocked = viewer.open(f"viewer?StudyInstanceUIDs={viewer.studies.blocked}")

    for page in (unknown, blocked):
        expect(page.get_by_text("studies are not available").first).to_be_visible()
    _keep(blocked, tmp_path, "blocked")
    assert blocked.locator("canvas").count() == unknown.locator("canvas").count() == 0


def _image(name: str, description: str) -> Dataset:
    image = dcmread(str(get_testdata_file(name)))
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = (generate_uid() for _ in range(3))
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyDescription = image.SeriesDescription = description
    return image


def _generated() -> Dataset:
    image = _image("CT_small.dcm", "Generated CT")
    image.ManufacturerModelName = "StyleGAN2"
    return image


def _ai_derived() -> Dataset:
    image = _image("MR_small.dcm", "Cleaned by AI")
    family = Dataset()
    family.CodeValue, family.CodingSchemeDesignator, family.CodeMeaning = "123110", "DCM", "AI"
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = Sequence([family])
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = "Denoiser", "1"
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, generate_uid()
    image.SourceImageSequence = Sequence([source])
    image.SegmentationAlgorithmIdentificationSequence = Sequence([algorithm])
    image.SyntheticData = "YES"
    return image


def _store(server: Server, image: Dataset) -> str:
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    answer = requests.post(f"{server.url}/instances", data=buffer.getvalue(), auth=server.admin, timeout=30)
    answer.raise_for_status()
    return str(image.StudyInstanceUID)


def _wait_for(server: Server, studies: set[str]) -> None:
    """A study is visible to research a moment after it was stored."""
    for _ in range(100):
        answer = requests.get(f"{server.url}{RESEARCH}/studies", auth=server.researcher, timeout=30)
        if studies <= {study["0020000D"]["Value"][0] for study in answer.json()}:
            return
        time.sleep(0.2)
    raise AssertionError("the studies stay hidden")


def _wait_until_painted(page: Page, canvas: Locator) -> None:
    """An image is on the screen once what the canvas shows is neither black nor of one grey."""
    for _ in range(60):
        shown = numpy.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        if len(numpy.unique(shown[40:-40, 40:-40])) > 50:
            return
        page.wait_for_timeout(500)
    raise AssertionError("the canvas stays empty")


def _keep(page: Page, folder: Path, name: str) -> None:
    """A screenshot for a person to look at, in PROVENANCE_SCREENSHOTS if that is set."""
    page.screenshot(path=Path(os.environ.get("PROVENANCE_SCREENSHOTS", folder)) / f"{name}.png")
