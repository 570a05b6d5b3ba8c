"""The signed statement of a stamp: an in-toto Statement in a DSSE envelope, signed with Ed25519.

The Statement (https://in-toto.io/Statement/v1) says of its subject, the pixels, what the assessment is. Its
bytes depend on key and content alone: no clock, no random values (RFC 8032), and the JSON has one form only
(sorted keys, no spaces, ASCII), in which it is also demanded when it is read.

What it binds is the pixels. So it goes with them wherever they go, and only what it says about pixels can be
believed of another object that holds the same; `trust` and `received` see to that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from .. import __version__
from ..errors import StatementError
from ..model import Assessment, Origin, State
from .block import DEFACED, IDENTITY_REMOVED, MAX_MARKERS

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:orthanc-provenance:assessment:v1"
PIXELS = "pixels"
DATA_SET = "data-set"
MAX_STATEMENT = 1 << 16
"""Bytes of the longest statement that is read; one with 256 marker ids of 64 characters has half of that."""

_DIGEST = "sha256:"
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
_MAX_NESTED = 32


class Subject(NamedTuple):
    """What a statement is about: `PIXELS` or `DATA_SET`, and the digest of it, `sha256:` and 64 digits."""

    name: str
    digest: str


class PublicHalf(NamedTuple):
    """What a stamped object says outside the private block, where everybody reads it.

    `synthetic_data` is the value of SyntheticData (0008,001C), `YES`, `NO`, `other`, or `""` where it has
    none; `states` are those that our Items in Contributing Equipment Sequence name, in the order of `State`.
    """

    synthetic_data: str = ""
    states: tuple[State, ...] = ()


NOTHING_PUBLIC = PublicHalf()


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement says, whoever signed it. `previous` is the SHA-256 of the one before it, or `""`."""

    subject: Subject
    state: State
    origin: Origin
    privacy: tuple[str, ...]
    labelled: bool
    modifiers: tuple[str, ...]
    evidence: tuple[str, ...]
    catalogue_revision: str
    software_version: str
    declaration_uri: str
    previous: str
    public: PublicHalf


class Signer:
    """Signs statements with one private key, which it keeps parsed."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self.public_key = public_key(private_key.public_key())
        self._signer = CryptoSigner(private_key, self.public_key)

    @property
    def key_id(self) -> str:
        """The id of the public key, see `public_key`."""
        return self.public_key.keyid

    def sign(
        self,
        assessment: Assessment,
        subject: Subject,
        catalogue_revision: str,
        declaration_uri: str = "",
        previous: bytes = b"",
        public: PublicHalf = NOTHING_PUBLIC,
    ) -> bytes:
        """The statement that `subject` is what `assessment` says, as the canonical JSON of its envelope.

        `previous` is the statement of the stamp before this one, b"" where there is none, and `public` what
        the object says in public when it has its stamp.
        """
        predicate: dict[str, Any] = {
            "state": assessment.state.value,
            "origin": assessment.origin.value,
            "privacy": privacy_words(assessment),
            "labelled": assessment.labelled,
            "modifiers": [modifier.value for modifier in assessment.modifiers],
            "evidence": marker_ids(assessment),
            "catalogueRevision": catalogue_revision,
            "softwareVersion": __version__,
        }
        if declaration_uri:
            predicate["declaration"] = declaration_uri
        if previous:
            predicate["previous"] = digest_of(previous)
        if public.synthetic_data:
            predicate["syntheticData"] = public.synthetic_data
        if public.states:
            predicate["namedStates"] = [state.value for state in public.states]
        content = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": subject.name, "digest": {"sha256": subject.digest.removeprefix(_DIGEST)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
        return self.sign_statement(content)

    def sign_statement(self, content: Mapping[str, Any]) -> bytes:
        """Any in-toto Statement, as the canonical JSON of its envelope."""
        envelope = Envelope(_canonical(content), PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return _canonical(envelope.to_dict())


def public_key(key: Ed25519PublicKey) -> SSlibKey:
    """`key` with its id: the SHA-256 of its DER form (SubjectPublicKeyInfo), in hexadecimal digits."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SSlibKey.from_crypto(key, keyid=hashlib.sha256(der).hexdigest())


def privacy_words(assessment: Assessment) -> list[str]:
    """The privacy flags that are set, in the words of the private block."""
    privacy = assessment.privacy
    flags = ((IDENTITY_REMOVED, privacy.identity_removed), (DEFACED, privacy.defaced))
    return [word for word, is_set in flags if is_set]


def marker_ids(assessment: Assessment) -> list[str]:
    """The marker ids of the evidence, each once, as the private block has them: at most 256."""
    return list(dict.fromkeys(found.marker for found in assessment.evidence))[:MAX_MARKERS]


def digest_of(statement: bytes) -> str:
    """The SHA-256 of a statement without padding, by which a later one names it."""
    return hashlib.sha256(statement.rstrip(b" \0")).hexdigest()


def open_envelope(data: bytes, limit: int = MAX_STATEMENT) -> Envelope:
    """The envelope in `data`, unpadded and at most `limit` bytes, with its payload and one signature.

    Raises StatementError where it is none, is not in its canonical form, or carries another kind of payload.
    """
    parsed = _parse(data, "envelope", limit)
    try:
        envelope = Envelope.from_dict(parsed)
        canonical = _canonical(envelope.to_dict()) == data
        ((key_id, signature),) = envelope.signatures.items()
        named = bool(_HEXADECIMAL.fullmatch(key_id)) and not signature.unrecognized_fields
    # What the library raises depends on where the JSON is not what it takes it for.
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise StatementError("the statement is no DSSE envelope with one signature") from problem
    if not canonical or not named:
        raise StatementError("the envelope of the statement is not as a gateway writes it")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise StatementError("the envelope holds no in-toto statement")
    return envelope


def verify(envelope: Envelope, key: Key) -> bool:
    """Whether `key` signed the envelope."""
    try:
        return bool(envelope.verify([key], 1))
    except VerificationError:
        return False


def key_of(envelope: Envelope) -> str:
    """The id of the key that the envelope names as its signer."""
    return next(iter(envelope.signatures))


def read_statement(payload: bytes) -> Statement:
    """The statement in the payload of an envelope. Raises StatementError for any but ours."""
    parsed = _parse(payload, "statement")
    try:
        if (parsed["_type"], parsed["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise StatementError("the statement is of a kind that this version does not know")
        (subject,) = parsed["subject"]
        return _statement(subject, parsed["predicate"])
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise StatementError("the statement lacks what it must say, or says it in unknown words") from problem


def _statement(subject: Mapping[str, Any], predicate: Mapping[str, Any]) -> Statement:
    digest = _text(subject["digest"]["sha256"])
    previous = _text(predicate.get("previous", ""))
    if not _HEXADECIMAL.fullmatch(digest) or (previous and not _HEXADECIMAL.fullmatch(previous)):
        raise ValueError("a digest")
    if not isinstance(predicate["labelled"], bool):
        raise TypeError("labelled")
    return Statement(
        subject=Subject(_text(subject["name"]), _DIGEST + digest),
        state=State(predicate["state"]),
        origin=Origin(predicate["origin"]),
        privacy=_texts(predicate["privacy"]),
        labelled=predicate["labelled"],
        modifiers=_texts(predicate["modifiers"]),
        evidence=_texts(predicate["evidence"]),
        catalogue_revision=_text(predicate["catalogueRevision"]),
        software_version=_text(predicate["softwareVersion"]),
        declaration_uri=_text(predicate.get("declaration", "")),
        previous=previous,
        public=PublicHalf(
            _text(predicate.get("syntheticData", "")),
            tuple(map(State, _texts(predicate.get("namedStates", [])))),
        ),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("a list")
    return tuple(map(_text, value))


def _parse(data: bytes, what: str, limit: int = MAX_STATEMENT) -> dict[str, Any]:
    """The JSON object in `data`, bounded.

    Python's parser recurses, and runs here on threads with small stacks: so what nests deeper than a
    statement ever does is refused before it is parsed.
    """
    if len(data) > limit or data.count(b"[") + data.count(b"{") > _MAX_NESTED:
        raise StatementError(f"the {what} is larger than any that a gateway writes")
    try:
        parsed = json.loads(data)
    except ValueError as problem:
        raise StatementError(f"the {what} is no JSON") from problem
    if not isinstance(parsed, dict):
        raise StatementError(f"the {what} is no JSON object")
    return parsed


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
