"""Verifies signed manifests, as research routes answer `manifest?format=dsse`, for the command `verify`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..doors.manifest_forms import PREDICATE_TYPE, STATEMENT_TYPE
from ..errors import StatementError
from ..stamp.statement import key_of, open_envelope, verify
from ..stamp.trust import TrustedKeys, Word

MAX_MANIFEST = 1 << 24
"""Bytes of the longest manifest that is read; one with 1000 generators has a twentieth of that."""


def verify_manifest(path: Path, trusted: TrustedKeys) -> dict[str, Any]:
    """How the signed manifest at `path` stands, or `path` and `error`.

    The files that it speaks of, `manifest.jsonld` and `manifest.csv`, are compared with it where they lie in
    the same folder; `altered` names those that are others.
    """
    try:
        with path.open("rb") as file:
            envelope = open_envelope(file.read(MAX_MANIFEST + 1).strip(), MAX_MANIFEST)
        digests, route = _read(envelope.payload)
    except OSError as problem:
        return {"path": str(path), "error": f"cannot be read: {problem.strerror or problem}"}
    except StatementError as problem:
        return {"path": str(path), "error": str(problem)}
    key_id = key_of(envelope)
    key = trusted.find(key_id)
    altered, reasons = _compare(path.parent, digests)
    if key is None:
        reasons.append(f"it is signed with the key {key_id[:64]}, which is not among the trusted ones")
    elif not verify(envelope, key):
        altered.append("signature")
        reasons.append(f"the signature is not that of the key {key_id} that it names")
    word = Word.ALTERED if altered else Word.UNTRUSTED if key is None else Word.VALID
    return {
        "path": str(path),
        "standing": word.value,
        "altered": altered,
        "state": None,
        "key": key_id,
        "route": route,
        "reasons": reasons,
    }


def _read(payload: bytes) -> tuple[dict[str, str], str]:
    """The digests by name of file, and the route. Raises StatementError for any other statement."""
    try:
        content = json.loads(payload)
        if (content["_type"], content["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise StatementError(
                "the envelope holds no manifest; files with stamps are verified without --manifest"
            )
        digests = {str(one["name"]): str(one["digest"]["sha256"]) for one in content["subject"]}
        return digests, str(content["predicate"]["provenance"]["route"])
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise StatementError("the manifest lacks what it must say") from problem


def _compare(folder: Path, digests: dict[str, str]) -> tuple[list[str], list[str]]:
    """The names of files in `folder` that are not those that were signed, and the reasons."""
    altered, reasons = [], []
    for name, digest in digests.items():
        # Whoever made the envelope chose the name: it must not lead elsewhere.
        beside = folder / Path(name).name
        if beside.is_file() and hashlib.sha256(beside.read_bytes()).hexdigest() != digest:
            altered.append(beside.name)
            reasons.append(f"{beside} is not the file that was signed")
    return altered, reasons
