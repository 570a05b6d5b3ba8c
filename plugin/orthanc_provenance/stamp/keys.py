"""The signing key of a gateway, its retired predecessors, and public keys as files hold them.

A private key is an Ed25519 key in PEM (PKCS #8, RFC 8410) that nobody but its owner may read. Beside
`NAME.pem` lies the folder `NAME.retired` with the public keys of those that came before: what they signed
stays valid. A key that is no longer to be trusted, because it was stolen, is removed from that folder.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import SSlibKey

from ..errors import ConfigurationError, KeyFileError
from .statement import Signer, public_key

log = logging.getLogger(__name__)

FILE_NAME = "provenance-signing-key.pem"
"""The key that is made on first start, in the folder of the index."""

MAX_KEYS_FILE = 1 << 18
MAX_KEYS = 256
_MAX_PRIVATE = 1 << 14
_PUBLIC_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----")
_SECRET = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


class Keys(NamedTuple):
    """The keys of one gateway: what it signs with, and the public keys under which it signed before."""

    signer: Signer
    retired: tuple[SSlibKey, ...]

    @property
    def public(self) -> tuple[SSlibKey, ...]:
        """All its public keys, the current one first."""
        return (self.signer.public_key, *self.retired)


def open_keys(configured: str, folder: Path) -> Keys | None:
    """The keys of this gateway: those of the file `configured`, else its own in `folder`, made if need be.

    Raises ConfigurationError where the file that the configuration names will not do. A key of our own that
    will not do is told in the log and stops nobody: the result is None, and stamps are not signed.
    """
    if configured:
        try:
            return load_keys(Path(configured))
        except KeyFileError as problem:
            raise ConfigurationError(f'"Provenance.SigningKey": {problem}') from problem
    path = folder / FILE_NAME
    try:
        make_key(path)
        return load_keys(path)
    except KeyFileError as problem:
        log.error("stamps are not signed, and nobody will believe them: %s", problem)
        return None


def load_keys(path: Path) -> Keys:
    """The private key at `path` and the retired ones beside it. Raises KeyFileError."""
    return Keys(Signer(_load(path)), _load_retired(path))


def make_key(path: Path) -> None:
    """Make a private key at `path`, complete at once and with mode 0600; nothing where one is there already.

    Raises KeyFileError where it cannot be written.
    """
    if path.exists():
        return
    temporary = _write_aside(path, _private_pem(Ed25519PrivateKey.generate()))
    try:
        # Unlike a rename, this never replaces a key that another process has just made.
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as problem:
        raise KeyFileError(f"the signing key {path} cannot be made: {problem.strerror}") from problem
    finally:
        temporary.unlink()


def rotate_key(path: Path) -> Keys:
    """Retire the private key at `path` and put a new one in its place; the gateway uses it once it restarts.

    The private half of the old key is gone then, so that nobody can sign with it. Whoever rotates, the files
    belong to the owner of the old key: Orthanc must be able to read them. Raises KeyFileError; the old key is
    in place until the last step.
    """
    old = _load(path).public_key()
    folder = retired_folder(path)
    try:
        owner = path.stat()
        if not folder.is_dir():
            folder.mkdir(mode=0o755)
            _give(folder, owner)
        _replace(folder / f"{public_key(old).keyid}.pem", _public_pem(old), 0o644, owner)
        _replace(path, _private_pem(Ed25519PrivateKey.generate()), 0o600, owner)
    except OSError as problem:
        raise KeyFileError(f"the signing key {path} cannot be rotated: {problem.strerror}") from problem
    return load_keys(path)


def retired_folder(path: Path) -> Path:
    """Where the public keys lie that came before the private key at `path`."""
    return path.with_suffix(".retired")


def describe(keys: Keys | None) -> dict[str, Any]:
    """The public keys as JSON tells them, here and at `/provenance/api/keys`; `read_public_keys` reads it."""
    if keys is None:
        return {"keys": []}
    states = ("current", *("retired" for _ in keys.retired))
    return {
        "keys": [
            {"id": key.keyid, "state": state, "pem": pem_of(key)}
            for key, state in zip(keys.public, states, strict=True)
        ]
    }


def pem_of(key: SSlibKey) -> str:
    """`key` in PEM (SubjectPublicKeyInfo), ending in a line break."""
    return _public_pem(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))).decode(
        "ascii"
    )


def read_public_keys(data: bytes, source: str) -> tuple[SSlibKey, ...]:
    """The public keys in `data`: PEM, one or several, or the JSON that a gateway answers.

    `source` names where it comes from. Raises KeyFileError where there are none, one is of another kind than
    Ed25519, or a private key lies there.
    """
    text = data[:MAX_KEYS_FILE].decode("utf-8", "replace")
    if _SECRET.search(text):
        raise KeyFileError(f"{source} holds a private key; name a file with the public one only")
    pems = _json_pems(text, source) if text.lstrip().startswith("{") else _PUBLIC_PEM.findall(text)
    if not pems or len(pems) > MAX_KEYS or len(data) > MAX_KEYS_FILE:
        raise KeyFileError(
            f"{source} holds {len(pems) or 'no'} public keys; give PEM (-----BEGIN PUBLIC KEY-----) or the "
            f"answer of a gateway's /provenance/api/keys, with at most {MAX_KEYS} keys"
        )
    return tuple(_read_pem(pem, source) for pem in pems)


def _json_pems(text: str, source: str) -> list[str]:
    try:
        return [str(key["pem"]) for key in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise KeyFileError(f'{source} is no JSON of the form {{"keys": [{{"pem": "…"}}]}}') from problem


def _read_pem(pem: str, source: str) -> SSlibKey:
    try:
        key = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise KeyFileError(f"{source} holds a public key that cannot be read") from problem
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{source} holds a public key of another kind; only Ed25519 keys sign statements")
    return public_key(key)


def _load_retired(path: Path) -> tuple[SSlibKey, ...]:
    folder = retired_folder(path)
    if not folder.is_dir():
        return ()
    try:
        files = sorted(folder.glob("*.pem"))[:MAX_KEYS]
        found = [key for file in files for key in read_public_keys(file.read_bytes(), str(file))]
    except OSError as problem:
        raise KeyFileError(f"the retired keys in {folder} cannot be read: {problem.strerror}") from problem
    return tuple({key.keyid: key for key in found}.values())


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_PRIVATE)
    except FileNotFoundError as problem:
        raise KeyFileError(
            f'there is no signing key {path}; make one: orthanc-provenance keys make "{path}"'
        ) from problem
    except OSError as problem:
        raise KeyFileError(f"the signing key {path} cannot be read: {problem.strerror}") from problem
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(
            f"the signing key {path} may be read by others (mode {stat.S_IMODE(mode):04o}); if it is still "
            f'secret: chmod 600 "{path}"'
        )
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise KeyFileError(
            f"the signing key {path} is no private key in PEM (PKCS #8) without a passphrase"
        ) from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"the signing key {path} is of another kind; only Ed25519 keys sign statements")
    return key


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _replace(path: Path, content: bytes, mode: int, owner: os.stat_result) -> None:
    """Put `content` in place of `path`, as a file of `owner`. Raises OSError, and KeyFileError as
    `_write_aside` does; what was there before stays then, and nothing else.
    """
    temporary = _write_aside(path, content)
    try:
        _give(temporary, owner)
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise


def _give(path: Path, owner: os.stat_result) -> None:
    """Raises OSError where only root may do that."""
    found = path.stat()
    if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(path, owner.st_uid, owner.st_gid)


def _write_aside(path: Path, content: bytes) -> Path:
    """A file beside `path` with the whole `content`, on the disk, mode 0600. Raises KeyFileError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise KeyFileError(f"the signing key {path} cannot be written: {problem.strerror}") from problem
    return temporary
