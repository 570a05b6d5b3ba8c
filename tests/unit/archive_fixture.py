"""A small archive with a real index, a gate and the web application, without a server.

`Archive.put` takes an object as a test wants it assessed; `fill` puts in one study of every kind, of which
`CONTENT` says what may be seen on the research route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dicom_samples import EXPLICIT, encode, image
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from orthanc_provenance.config import Route, Settings
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.doors.services import Codec, PlainCodec, Services
from orthanc_provenance.errors import NotStored
from orthanc_provenance.evidence.catalogue import Catalogue
from orthanc_provenance.gate import Gate
from orthanc_provenance.index.pending import Pending
from orthanc_provenance.index.record import (
    INSTANCE_ATTRIBUTES,
    SERIES_ATTRIBUTES,
    STUDY_ATTRIBUTES,
    Record,
    attributes,
    orthanc_identifiers,
)
from orthanc_provenance.index.rows import read_assessment
from orthanc_provenance.index.schema import open_engine
from orthanc_provenance.index.writer import Put, Remove, Settle, Writer
from orthanc_provenance.model import Assessment, Axis, Evidence, Origin, Privacy, Strength
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.statement import Signer
from orthanc_provenance.web.app import create_app

ROOT = "/research/dicom-web"
USER = "researcher"


def evidence(says: str, strength: Strength = Strength.CODED, axis: Axis = Axis.ORIGIN) -> Evidence:
    return Evidence(f"test.{says}", "(0008,0008)", "X", axis, says, strength)


def assessment(origin: Origin, strength: Strength = Strength.CODED, **values: Any) -> Assessment:
    """An assessment with evidence of `strength` for its origin."""
    return Assessment(origin, evidence=(evidence(origin.value, strength),), **values)


ORIGINAL = assessment(Origin.ACQUIRED)
PROTECTED = assessment(Origin.ACQUIRED, privacy=Privacy(identity_removed=True))
DERIVED = assessment(Origin.AI_DERIVED)
DERIVED_BY_TEXT = assessment(Origin.AI_DERIVED, Strength.TEXT)
LABELLED = assessment(Origin.AI_GENERATED, labelled=True)
UNLABELLED = assessment(Origin.AI_GENERATED)
UNDETERMINED = Assessment(Origin.UNDETERMINED)
NON_IMAGE = Assessment(Origin.NON_IMAGE)


@dataclass(frozen=True)
class Item:
    """One instance of the content: its attributes, its assessment, and what a researcher may see of it."""

    attributes: Mapping[str, str]
    assessment: Assessment
    released: bool
    synthetic: bool = False

    def __getitem__(self, keyword: str) -> str:
        return self.attributes.get(keyword, "")


def make_record(data: bytes, found: Assessment, synthetic: bool = False) -> Record:
    header = read_header(data)
    return Record(
        identifiers=orthanc_identifiers(header),
        study=attributes(header, STUDY_ATTRIBUTES),
        series=attributes(header, SERIES_ATTRIBUTES),
        instance=attributes(header, INSTANCE_ATTRIBUTES),
        assessment=found,
        synthetic_data="YES" if synthetic or found.origin.is_synthetic else "NO",
        catalogue="test-1",
    )


@dataclass
class Archive:
    """What a test drives. `on_read` is called with an identifier before its bytes are given out.

    `more` are settings besides the routes.
    """

    folder: Path
    routes: tuple[Route, ...] = (Route(),)
    stored: dict[str, bytes] = field(default_factory=dict)
    on_read: Callable[[str], None] = lambda _instance: None
    codec: Codec = field(default_factory=PlainCodec)
    more: Mapping[str, Any] = field(default_factory=dict)
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    catalogue: Catalogue | None = None

    def __post_init__(self) -> None:
        self.engine: Engine = open_engine("", self.folder)
        self.pending = Pending()
        self.writer = Writer(
            self.engine, self.routes, lambda written, _touched: self.pending.written(written)
        )
        self.gate = Gate(self.engine, self.pending, lambda: self.writer.failure)
        self.settings = Settings(routes=self.routes, **self.more)
        self.services = services = Services(
            *(self.settings, self.gate, self.read, stamp),
            restamp=stamp,
            codec=self.codec,
            catalogue="test-1",
            sign=self.signer.sign_statement,
        )
        self.app = create_app(services, self.engine, lambda: {"version": "test"}, catalogue=self.catalogue)

    def __enter__(self) -> Archive:
        self.writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.stop()

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def get(self, path: str, user: str = USER, method: str = "GET", **headers: str) -> TestResponse:
        """A request below the root of the first route; `path` with a leading `//` is taken as it is."""
        target = path[1:] if path.startswith("//") else f"{self.routes[0].dicom_web_root}{path}"
        return self.client.open(
            target,
            method=method,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            environ_overrides={"REMOTE_USER": user} if user else {},
        )

    def read(self, instance: str) -> bytes:
        self.on_read(instance)
        try:
            return self.stored[instance]
        except KeyError:
            raise NotStored(f"no instance {instance}") from None

    def put(
        self,
        study: str,
        series: str,
        sop: str,
        found: Assessment = ORIGINAL,
        *,
        synthetic: bool = False,
        syntax: str = EXPLICIT,
        settled: bool = True,
        **values: str,
    ) -> str:
        """Store and index one image; its Orthanc identifier. Call `flush` before asking."""
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
        data = encode(image(**{**uids, "SpecificCharacterSet": "ISO_IR 192", **values}), syntax)
        return self.put_bytes(data, found, synthetic=synthetic, settled=settled)

    def put_bytes(
        self, data: bytes, found: Assessment, *, synthetic: bool = False, settled: bool = True
    ) -> str:
        record = make_record(data, found, synthetic)
        self.stored[record.identifiers.instance] = data
        self.writer.submit(Put(record))
        if settled:
            self.writer.submit(Settle((record.identifiers.study,), True))
        return record.identifiers.instance

    def remove(self, *ids: str) -> None:
        for instance in ids:
            self.stored.pop(instance, None)
        self.writer.submit(Remove(ids))
        self.flush()
        # What stays of a study is compared with the archive first, see `index.writer`.
        self.writer.submit(Settle(None, settled=True))
        self.flush()

    def flush(self) -> None:
        assert self.writer.flush(), self.writer.failure


def stamp(data: bytes, row: Mapping[str, Any]) -> bytes:
    """What the intake does on the way out, without a catalogue."""
    stamped = apply(read_header(data), read_assessment(row), row["catalogue"])
    return data if stamped is None else stamped


def _item(uids: str, found: Assessment, released: bool, synthetic: bool = False, **values: str) -> Item:
    study, series, sop = uids.split("/")
    named = {
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": f"1.2.{study}.{series}",
        "SOPInstanceUID": f"1.2.{study}.{series}.{sop}",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SeriesNumber": series,
        "InstanceNumber": sop,
    }
    return Item({**named, **values}, found, released, synthetic or found.origin.is_synthetic)


DOE = {"PatientName": "Doe^John", "PatientID": "P1", "StudyDate": "20200110", "StudyTime": "093000"}
ROE = {"PatientName": "ROE^JANE", "PatientID": "P_2%", "StudyDate": "20210615", "StudyTime": "235959.5"}
YAMADA = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "P3", "StudyDate": "20210616"}
HIDDEN = {"PatientName": "Secret^Person", "PatientID": "P9", "StudyDate": "20200111", "StudyTime": "101500"}

CONTENT = (
    _item("1/1/1", ORIGINAL, True, Modality="CT", AccessionNumber="A1", **DOE),
    _item("1/1/2", ORIGINAL, True, Modality="CT", AccessionNumber="A1", **DOE),
    _item("1/2/1", ORIGINAL, True, Modality="MR", AccessionNumber="A1", SeriesDescription="t1*?", **DOE),
    _item("2/1/1", PROTECTED, True, Modality="MR", StudyDescription="Head 50%_x", **ROE),
    _item("3/1/1", ORIGINAL, True, Modality="CT", **YAMADA),
    _item("3/2/1", DERIVED, True, synthetic=True, Modality="SC", **YAMADA),
    _item("3/3/1", DERIVED_BY_TEXT, False, synthetic=True, Modality="PT", **YAMADA),
    _item("4/1/1", LABELLED, False, Modality="CT", **HIDDEN),
    _item("5/1/1", ORIGINAL, False, Modality="CT", **HIDDEN),
    _item("5/2/1", UNLABELLED, False, Modality="US", **HIDDEN),
    _item("6/1/1", UNDETERMINED, False, Modality="XA", **HIDDEN),
    _item("7/1/1", ORIGINAL, True, Modality="CR", **ROE),
    _item("7/2/1", UNDETERMINED, False, Modality="XA", **ROE),
    _item("8/1/1", replace(ORIGINAL, reason="no stamp: test"), False, Modality="CT", **HIDDEN),
)
UNSETTLED = _item("9/1/1", ORIGINAL, False, Modality="CT", **HIDDEN)
VISIBLE = tuple(item for item in CONTENT if item.released)
INVISIBLE = (*(item for item in CONTENT if not item.released), UNSETTLED)


def fill(archive: Archive) -> Archive:
    """Put in all of `CONTENT`, and one study that is not settled."""
    for item in (*CONTENT, UNSETTLED):
        values = {
            k: v
            for k, v in item.attributes.items()
            if k not in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        archive.put(
            item["StudyInstanceUID"],
            item["SeriesInstanceUID"],
            item["SOPInstanceUID"],
            item.assessment,
            synthetic=item.synthetic,
            settled=item is not UNSETTLED,
            **values,
        )
    archive.flush()
    return archive
