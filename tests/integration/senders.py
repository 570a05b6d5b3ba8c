"""Ways to send images that tell which of them the server has acknowledged."""

from __future__ import annotations

import io
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import requests
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from support import Image

from launch import Server

# What a client sees of a server that dies: before, or in the middle of an answer.
GONE = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


class Receipts:
    """Which images were acknowledged, and when (`time.monotonic`, read after the acknowledgement)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times: dict[Image, float] = {}

    def add(self, *images: Image) -> None:
        """These images were acknowledged just now."""
        with self._changed:
            self._times.update(dict.fromkeys(images, time.monotonic()))
            self._changed.notify_all()

    def wait_for(self, number: int, seconds: float = 60.0) -> None:
        """Wait until this many are acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._times) >= number, seconds), "senders are stuck"

    def images(self) -> dict[Image, float]:
        """All that were acknowledged so far."""
        with self._changed:
            return dict(self._times)


def post_each(server: Server, images: Iterable[Image], receipts: Receipts) -> None:
    """POST one after the other; returns when all are acknowledged, or the server is gone."""
    with requests.Session() as session:
        session.auth = server.admin
        for image in images:
            try:
                answer = session.post(f"{server.url}/instances", data=image.data, timeout=60)
            except GONE:
                return
            assert answer.status_code == 200, f"POST answers {answer.status_code}: {answer.text}"
            receipts.add(image)


def store_each(server: Server, images: Iterable[Image], receipts: Receipts) -> None:
    """C-STORE one after the other in one association; returns as `post_each` does."""
    requester = AE(ae_title="MODALITY")
    # Only waited for where the server dies in the middle of a handshake.
    requester.acse_timeout = 5
    requester.add_requested_context(CT_STORAGE, ExplicitVRLittleEndian)
    association = requester.associate("127.0.0.1", server.dicom_port, ae_title="ORTHANC")
    for image in images:
        if not association.is_established:
            return
        try:
            status = association.send_c_store(dcmread(io.BytesIO(image.data)))
        except RuntimeError:
            # Pynetdicom's word for an association that ended between the question above and the sending.
            return
        if "Status" not in status:
            return
        assert status.Status == 0, f"C-STORE answers {status.Status:#06x}"
        receipts.add(image)
    association.release()


def stow_each(server: Server, images: Sequence[Image], receipts: Receipts, at_once: int = 10) -> None:
    """Store by STOW-RS, `at_once` images in a request."""
    with requests.Session() as session:
        session.auth = server.admin
        for start in range(0, len(images), at_once):
            some = images[start : start + at_once]
            boundary = uuid.uuid4().hex
            body = b"".join(
                b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), image.data)
                for image in some
            )
            answer = session.post(
                f"{server.url}/dicom-web/studies",
                data=body + f"--{boundary}--\r\n".encode(),
                headers={
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                    "Accept": "application/dicom+json",
                },
                timeout=120,
            )
            assert answer.status_code == 200, f"STOW answers {answer.status_code}: {answer.text}"
            stored = answer.json()["00081199"]["Value"]
            assert len(stored) == len(some)
            receipts.add(*some)


def store_by_storescu(server: Server, images: Sequence[Image], folder: Path) -> None:
    """C-STORE by DCMTK in one association of a process of its own; it stops at the first refusal."""
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number:05d}.dcm").write_bytes(image.data)
    command = ["storescu", "-aec", "ORTHANC", "+sd", "127.0.0.1", str(server.dicom_port), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
