"""Real tools that remove identity, each run on the bytes of one DICOM file.

They run as their documentation tells their users to run them, with the options that decide what of an object
is left. What a tool gives is what its users would publish: nothing is repaired here.
"""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from deid.config import DeidRecipe
from deid.dicom import replace_identifiers
from deid.logger import bot
from deid.logger.message import QUIET
from dicognito.anonymizer import Anonymizer
from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file, initialize_actions_2024b
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from launch import Server

DICOGNITO = "dicognito"
DEID = "pydicom/deid"
KITWARE = "Kitware dicom-anonymizer"
GDCM = "gdcmanon"
ORTHANC = "Orthanc /anonymize"

# In the manner of the examples in the tool's documentation: UIDs stay, so that a study is still one.
_RECIPE = """
FORMAT dicom
%header
ADD PatientIdentityRemoved YES
REPLACE PatientID var:entity_id
REPLACE AccessionNumber var:item_id
REMOVE PatientName
REMOVE PatientBirthDate
REMOVE endswith:Time
REMOVE endswith:Date
"""
_VALUES = {
    "entity_id": "subject-1",
    "item_id": "item-1",
    "entity_timestamp": "20000101",
    "item_timestamp": "20000101",
}


class RefusedError(Exception):
    """A tool gives nothing for a file; the text says what it said."""


@dataclass(frozen=True)
class Deidentifier:
    """A tool with its options."""

    tool: str
    options: str
    run: Callable[[bytes], bytes]
    """The object without its identity. Raises RefusedError."""

    @property
    def name(self) -> str:
        """Tool and options, as tables and test reports tell them."""
        return f"{self.tool} ({self.options})"


def local_deidentifiers() -> tuple[Deidentifier, ...]:
    """The tools that need no server; of each tool first as it works by default."""
    return (
        Deidentifier(DICOGNITO, "default", _dicognito),
        Deidentifier(DEID, "default recipe", lambda data: _deid(data, "")),
        Deidentifier(DEID, "short recipe", lambda data: _deid(data, _RECIPE)),
        Deidentifier(
            DEID,
            "short recipe, `remove_private`",
            lambda data: _deid(data, _RECIPE, remove_private=True),
        ),
        Deidentifier(
            DEID,
            "short recipe, `strip_sequences`",
            lambda data: _deid(data, _RECIPE, strip_sequences=True),
        ),
        Deidentifier(
            DEID,
            "short recipe, `remove_private`, `strip_sequences`",
            lambda data: _deid(data, _RECIPE, remove_private=True, strip_sequences=True),
        ),
        Deidentifier(KITWARE, "default", _kitware),
        Deidentifier(
            KITWARE,
            "rules of 2024b",
            lambda data: _kitware(data, base_rules_gen=initialize_actions_2024b),
        ),
        Deidentifier(
            KITWARE,
            "`--keepPrivateTags`",
            lambda data: _kitware(data, delete_private_tags=False),
        ),
        Deidentifier(GDCM, "`--de-identify`", _gdcmanon),
        Deidentifier(
            GDCM,
            "`--dumb`, names and identifiers emptied",
            lambda data: _gdcmanon(
                data, "--dumb", "--empty", "10,10", "--empty", "10,20", "--remove", "10,30"
            ),
        ),
    )


def orthanc_deidentifiers(server: Server) -> tuple[Deidentifier, ...]:
    """What the Orthanc of `server` offers, which must run without our plugin."""

    def offered(options: str, **body: Any) -> Deidentifier:
        return Deidentifier(ORTHANC, options, lambda data: _orthanc(server, data, body))

    return (
        offered("default"),
        offered("`KeepPrivateTags`", KeepPrivateTags=True),
        offered("`DicomVersion` 2008", DicomVersion="2008"),
        offered(
            "`Remove` of SyntheticData and Contributing Equipment",
            Remove=["SyntheticData", "ContributingEquipmentSequence"],
        ),
    )


@contextmanager
def _in_process() -> Iterator[None]:
    """What these tools raise on files that they cannot read or write is their refusal.

    They are pydicom and rules, and let whatever pydicom raises through.
    """
    bot.level = QUIET
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (
        InvalidDicomError,
        AttributeError,
        KeyError,
        NotImplementedError,
        TypeError,
        UnicodeError,
        ValueError,
    ) as problem:
        raise RefusedError(f"{type(problem).__name__}: {problem}") from problem


def _dicognito(data: bytes) -> bytes:
    with _in_process():
        dataset = dcmread(io.BytesIO(data), force=False)
        Anonymizer(seed="one and the same").anonymize(dataset)
        return _saved(dataset)


def _deid(data: bytes, recipe: str, **options: bool) -> bytes:
    with TemporaryDirectory() as folder, _in_process():
        path = Path(folder) / "object.dcm"
        path.write_bytes(data)
        rules = Path(folder) / "deid.dicom"
        rules.write_text(recipe)
        (dataset,) = replace_identifiers(
            [str(path)],
            ids={str(path): dict(_VALUES)},
            deid=DeidRecipe(deid=str(rules)) if recipe else DeidRecipe(),
            save=False,
            **options,
        )
        return _saved(dataset)


def _kitware(data: bytes, **options: Any) -> bytes:
    out = io.BytesIO()
    with _in_process():
        anonymize_dicom_file(io.BytesIO(data), out, **options)
    return out.getvalue()


def _gdcmanon(data: bytes, *options: str) -> bytes:
    with TemporaryDirectory() as folder:
        before, after, key = (Path(folder) / name for name in ("before.dcm", "after.dcm", "key.pem"))
        before.write_bytes(data)
        key.write_bytes(_certificate())
        command = ["gdcmanon", *(options or ("--de-identify", "-c", str(key)))]
        done = subprocess.run(
            [*command, "-i", str(before), "-o", str(after)], capture_output=True, text=True, timeout=60
        )
        if done.returncode or not after.is_file():
            said = (done.stderr or done.stdout).strip().replace(folder, "")
            raise RefusedError(f"exit status {done.returncode}: {said}")
        return after.read_bytes()


def _orthanc(server: Server, data: bytes, body: dict[str, Any]) -> bytes:
    sent = requests.post(f"{server.url}/instances", data=data, auth=server.admin, timeout=60)
    if not sent.ok:
        raise RefusedError(
            f"not stored, {sent.status_code}: {sent.json().get('Details') or sent.json()['Message']}"
        )
    instance = f"{server.url}/instances/{sent.json()['ID']}"
    answer = requests.post(
        f"{instance}/anonymize", json={**body, "Force": True}, auth=server.admin, timeout=60
    )
    # Files of other tests have the same UIDs, and Orthanc would keep the first.
    requests.delete(instance, auth=server.admin, timeout=60).raise_for_status()
    if not answer.ok:
        raise RefusedError(f"not anonymised, {answer.status_code}: {answer.json().get('Details')}")
    return answer.content


def _saved(dataset: Any) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@cache
def _certificate() -> bytes:
    """A certificate for which gdcmanon encrypts what it removes; nobody keeps its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)
