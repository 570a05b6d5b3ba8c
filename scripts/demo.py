"""The demonstration of `scripts/run --demo`: sends studies as a modality would, and shows what they became.

The images are test files that pydicom ships; what is synthetic in them is only what their header says.
"""

from __future__ import annotations

import copy
import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE

_ROOT = "/research/dicom-web"
_WAIT_SECONDS = 30.0


@dataclass
class Study:
    """One study of the demonstration: what it is, and its objects."""

    title: str
    objects: list[Dataset]

    @property
    def uid(self) -> str:
        return str(self.objects[0].StudyInstanceUID)


@dataclass
class Client:
    """One user's view of the server."""

    base_url: str
    user: str
    password: str

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of what the server answers."""
        login = b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(self.base_url + path, headers={"Authorization": f"Basic {login}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read()


def studies() -> list[Study]:
    """The studies, with the same UIDs each time, so that a second demonstration sends the same objects."""
    return [
        Study("CT from a scanner", [_image("CT_small.dcm", "ct")]),
        Study("MR from a scanner", [_image("MR_small.dcm", "mr")]),
        Study("CT, de-identified", [_deidentified(_image("CT_small.dcm", "de-identified"))]),
        Study("CT, synthetic, labelled", [_labelled(_generated(_image("CT_small.dcm", "labelled")))]),
        Study("CT, synthetic, unlabelled", [_generated(_image("CT_small.dcm", "unlabelled"))]),
        Study("MR with a synthetic series", _mixed()),
    ]


def main(base_url: str, dicom_port: int, admin_password: str, researcher_password: str) -> None:
    """Send everything, wait until it is assessed, and print a table. Raises RuntimeError where that fails."""
    made = studies()
    _send([item for study in made for item in study.objects], dicom_port)
    admin = Client(base_url, "admin", admin_password)
    researcher = Client(base_url, "researcher", researcher_password)
    rows = [("sent by C-STORE", "became", "a researcher sees", "because")]
    for study in made:
        report = _report(admin, study)
        states = sorted({state for series in report["series"] for state in series["states"]})
        rows.append((study.title, ", ".join(states), _seen(researcher, study), _why(report)))
    print()
    _print_table(rows)
    print(f"\n  curl -u researcher:… {base_url}{_ROOT}/studies?SyntheticData=NO")
    print(f"  curl -u admin:… {base_url}/provenance/api/studies/{made[-1].uid}\n", flush=True)


def _image(name: str, salt: str) -> Dataset:
    image = dcmread(str(get_testdata_file(name)))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(image, keyword, generate_uid(entropy_srcs=[name, salt, keyword]))
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.PatientID = f"DEMO-{salt}"
    image.StudyDescription = f"Demonstration: {salt}"
    return image


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _deidentified(image: Dataset) -> Dataset:
    """As the Basic Application Level Confidentiality Profile leaves it (PS3.15 E.1)."""
    image.PatientName = "Subject^0001"
    image.PatientIdentityRemoved = "YES"
    image.DeidentificationMethodCodeSequence = Sequence(
        [_code("113100", "Basic Application Confidentiality Profile")]
    )
    for keyword in ("InstitutionName", "ReferringPhysicianName", "AccessionNumber"):
        if keyword in image:
            delattr(image, keyword)
    return image


def _generated(image: Dataset) -> Dataset:
    """The header that a generative model wrote: its name where a scanner's should be, and no label."""
    image.Manufacturer = "Example Imaging Research"
    image.ManufacturerModelName = "StyleGAN2"
    return image


def _labelled(image: Dataset) -> Dataset:
    """The label of PS3.3 C.12.1: Synthetic Data, and the synthesizing equipment (109100)."""
    image.add_new(0x0008001C, "CS", "YES")
    item = Dataset()
    item.Manufacturer, item.ManufacturerModelName = image.Manufacturer, image.ManufacturerModelName
    item.PurposeOfReferenceCodeSequence = Sequence([_code("109100", "Synthesizing Equipment")])
    image.ContributingEquipmentSequence = Sequence([item])
    return image


def _mixed() -> list[Dataset]:
    real = _image("MR_small.dcm", "mixed")
    synthetic = _generated(copy.deepcopy(real))
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        setattr(synthetic, keyword, generate_uid(entropy_srcs=["mixed", "synthetic", keyword]))
    synthetic.file_meta.MediaStorageSOPInstanceUID = synthetic.SOPInstanceUID
    return [real, synthetic]


def _send(objects: list[Dataset], port: int) -> None:
    client = AE(ae_title="MODALITY")
    for item in objects:
        client.add_requested_context(item.SOPClassUID, item.file_meta.TransferSyntaxUID)
    association = client.associate("127.0.0.1", port)
    if not association.is_established:
        raise RuntimeError(f"Orthanc accepts no association on DICOM port {port}")
    for item in objects:
        status = association.send_c_store(item)
        if "Status" not in status or status.Status != 0:
            raise RuntimeError(f"C-STORE of {item.SOPInstanceUID} was refused: {status}")
    association.release()


def _report(admin: Client, study: Study) -> dict[str, Any]:
    """What the gateway says of a study, once all of it is assessed and settled."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        status, body = admin.get(f"/provenance/api/studies/{study.uid}")
        if status == 200:
            report: dict[str, Any] = json.loads(body)
            number = sum(len(series["instances"]) for series in report["series"])
            if report["settled"] and number == len(study.objects):
                return report
        time.sleep(0.1)
    raise RuntimeError(f"the study {study.uid} was not assessed within {_WAIT_SECONDS:.0f} s")


def _seen(researcher: Client, study: Study) -> str:
    """What a search and a retrieval give: they agree, or something is wrong."""
    _, listed = researcher.get(f"{_ROOT}/studies?StudyInstanceUID={study.uid}")
    status, fetched = researcher.get(f"{_ROOT}/studies/{study.uid}")
    if json.loads(listed) and status == 200:
        parts = fetched.count(b"Content-Type: application/dicom")
        return f"{parts} object{'s' if parts != 1 else ''}"
    return "nothing" if not json.loads(listed) and status == 404 else f"an error (status {status})"


def _why(report: dict[str, Any]) -> str:
    reasons = {reason for series in report["series"] for reason in series["routes"]["research"]["reasons"]}
    verdicts = {series["routes"]["research"]["verdict"] for series in report["series"]}
    markers = {
        evidence["marker"]
        for series in report["series"]
        for instance in series["instances"]
        for evidence in instance["evidence"]
    }
    return f"{'/'.join(sorted(verdicts))}: {', '.join(sorted(reasons))} [{', '.join(sorted(markers))}]"


def _print_table(rows: list[tuple[str, str, str, str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[3])
        if number == 0:
            print("  ".join("-" * width for width in widths) + "  " + "-" * len(row[3]))
