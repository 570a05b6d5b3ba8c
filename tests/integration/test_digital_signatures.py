"""Digital Signatures (PS3.15 annex C) hold after the stamp as before: DCMTK makes and verifies them."""

from __future__ import annotations

import io
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support import ct_image

from element_bytes import CONTRIBUTING_EQUIPMENT, cut, differences
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.scan import PIXEL_GROUP
from orthanc_provenance.model import Assessment, Origin, State
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import read_stamp
from orthanc_provenance.stamp.statement import Signer

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
GENERATED = Assessment(Origin.AI_GENERATED)
DIGITAL_SIGNATURES = 0xFFFAFFFA
ENCODINGS = {"+te": ExplicitVRLittleEndian, "+ti": ImplicitVRLittleEndian, "+tb": ExplicitVRBigEndian}


class Notary:
    """Signs and verifies objects with DCMTK's dcmsign, by a key of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key, self._certificate = folder / "key.pem", folder / "certificate.pem"
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Scanner")])
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = (
            made.serial_number(1).not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2100, 1, 1))
        )
        self._certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self._key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

    def sign(self, data: bytes, *tags: str) -> bytes:
        """The object with a signature over these elements, all it has by default."""
        given, signed = self._folder / "given.dcm", self._folder / "signed.dcm"
        given.write_bytes(data)
        chosen = [word for tag in tags for word in ("-t", tag)]
        keys = [str(self._key), str(self._certificate)]
        done = run("dcmsign", "+s", *keys, "-pw", "+m2", *chosen, str(given), str(signed))
        assert done.returncode == 0, done.stderr
        return signed.read_bytes()

    def verifies(self, data: bytes) -> bool:
        """Whether the object has a signature, and all it has hold."""
        given = self._folder / "received.dcm"
        given.write_bytes(data)
        return run("dcmsign", "+rg", "+cf", str(self._certificate), str(given)).returncode == 0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)


@pytest.fixture(scope="module")
def notary(tmp_path_factory: pytest.TempPathFactory) -> Notary:
    return Notary(tmp_path_factory.mktemp("notary"))


def scanned(*, equipment: bool = False) -> bytes:
    dataset = dcmread(io.BytesIO(ct_image().data))
    if equipment:
        item = Dataset()
        item.Manufacturer = "SCANNER"
        dataset.ContributingEquipmentSequence = [item]
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def encoded(data: bytes, option: str, folder: Path) -> bytes:
    """The object in another encoding, by DCMTK."""
    given, converted = folder / "given.dcm", folder / "converted.dcm"
    given.write_bytes(data)
    assert run("dcmconv", option, str(given), str(converted)).returncode == 0
    return converted.read_bytes()


def stamped(data: bytes) -> bytes:
    found = apply(read_header(data), GENERATED, "2026.1", signer=SIGNER)
    assert found is not None
    return found


def state_of(data: bytes) -> State | None:
    found = read_stamp(read_header(data))
    return None if found is None else found.state


def test_what_the_notary_says_can_be_relied_on(notary: Notary) -> None:
    plain = scanned()
    signed = notary.sign(plain)
    at = signed.index(b"ORIGINAL")

    assert notary.verifies(signed)
    assert not notary.verifies(plain)
    assert not notary.verifies(signed[:at] + b"ORIGINAX" + signed[at + 8 :])


@pytest.mark.parametrize("option", ENCODINGS)
def test_a_signature_over_everything_holds_after_the_stamp(
    notary: Notary, option: str, tmp_path: Path
) -> None:
    signed = notary.sign(encoded(scanned(), option, tmp_path))

    after = stamped(signed)

    assert cut(after).dataset.file_meta.TransferSyntaxUID == ENCODINGS[option]
    assert notary.verifies(after)
    assert state_of(after) is State.AI_GENERATED
    assert differences(after, signed, synthetic=True) == []
    assert cut(after).elements[DIGITAL_SIGNATURES] == cut(signed).elements[DIGITAL_SIGNATURES]


def test_real_objects_of_every_encoding_hold_after_the_stamp(notary: Notary, shared_data: Path) -> None:
    names = ("ct-siemens-emotion", "mr-siemens-aera", "us-philips-clearvue-implicit", "ct-philips-gemini-rle")
    for path in (shared_data / "real" / f"{name}.dcm" for name in names):
        signed = notary.sign(path.read_bytes())
        assert notary.verifies(signed), path.name

        assert notary.verifies(stamped(signed)), path.name


def test_only_elements_that_are_not_signed_are_added(notary: Notary) -> None:
    signed = notary.sign(scanned())
    (parameters,) = dcmread(io.BytesIO(signed)).MACParametersSequence
    covered = {int(tag) for tag in parameters.DataElementsSigned}

    before, after = cut(signed), cut(stamped(signed))

    added = {tag for tag, raw in after.elements.items() if before.elements.get(tag) != raw}
    assert added
    assert added.isdisjoint(covered)
    assert PIXEL_GROUP | 0x10 in covered


def test_signed_contributing_equipment_is_left_alone_and_the_private_block_tells_the_state(
    notary: Notary,
) -> None:
    signed = notary.sign(scanned(equipment=True))

    after = stamped(signed)

    assert notary.verifies(after)
    assert cut(after).elements[CONTRIBUTING_EQUIPMENT] == cut(signed).elements[CONTRIBUTING_EQUIPMENT]
    assert state_of(after) is State.AI_GENERATED
    assert dcmread(io.BytesIO(after)).SyntheticData == "YES"


def test_equipment_that_another_signature_leaves_out_gets_its_item(notary: Notary) -> None:
    signed = notary.sign(scanned(equipment=True), "SOPInstanceUID", "PixelData")

    after = stamped(signed)

    assert notary.verifies(after)
    names = [item.Manufacturer for item in dcmread(io.BytesIO(after)).ContributingEquipmentSequence]
    assert names == ["SCANNER", "orthanc-provenance"]


def test_a_stamp_that_is_signed_over_is_kept_and_the_next_stands_above_it(notary: Notary) -> None:
    signed = notary.sign(stamped(scanned()))

    after = apply(read_header(signed), Assessment(Origin.SIMULATED), "2026.1", signer=SIGNER)

    assert after is not None
    assert notary.verifies(after)
    assert state_of(after) is State.SIMULATED
