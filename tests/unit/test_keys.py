"""The signing key of a gateway: how it is made, refused and rotated; and the public keys of others."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from archive_fixture import Archive
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orthanc_provenance.config import Settings
from orthanc_provenance.doors.lock import Lock
from orthanc_provenance.doors.requester import Claim
from orthanc_provenance.errors import ConfigurationError, KeyFileError
from orthanc_provenance.gate import Requester
from orthanc_provenance.stamp import foreign
from orthanc_provenance.stamp.foreign import ForeignKeys, fetch_public_keys
from orthanc_provenance.stamp.keys import (
    FILE_NAME,
    describe,
    load_keys,
    make_key,
    open_keys,
    pem_of,
    read_public_keys,
    retired_folder,
    rotate_key,
)
from orthanc_provenance.stamp.trust import TrustedKeys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "key.pem"
    make_key(made)
    return made


def ids(keys: tuple[object, ...]) -> list[str]:
    return [key.keyid for key in keys]  # type: ignore[attr-defined]


def test_a_key_is_made_for_its_owner_alone_and_leaves_no_other_file(path: Path) -> None:
    assert path.stat().st_mode & 0o7777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_key_that_is_there_stays(path: Path) -> None:
    before = path.read_bytes()

    make_key(path)

    assert path.read_bytes() == before


def test_processes_that_start_at_once_end_up_with_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    seen: list[str] = []
    start = threading.Barrier(8)

    def begin() -> None:
        start.wait()
        make_key(path)
        seen.append(load_keys(path).signer.key_id)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_key_id_is_what_openssl_makes_of_the_public_key(path: Path) -> None:
    import hashlib
    from base64 import b64decode

    key = load_keys(path).signer.public_key
    lines = pem_of(key).strip().splitlines()

    assert hashlib.sha256(b64decode("".join(lines[1:-1]))).hexdigest() == key.keyid


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)

    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_keys(path)


def test_a_key_that_only_its_owner_may_read_and_not_write_will_do(path: Path) -> None:
    path.chmod(0o400)

    assert load_keys(path).signer.key_id


def test_a_missing_key_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"no signing key .*keys make"):
        load_keys(tmp_path / "none.pem")


def test_what_is_no_key_or_another_kind_of_key_is_told_apart(tmp_path: Path) -> None:
    private = generate_ec_key(SECP256R1())
    contents = {
        "no private key in PEM": b"hello",
        "another kind": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    for told, content in contents.items():
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileError, match=told):
            load_keys(path)


def test_a_folder_that_takes_no_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_key(tmp_path / "missing" / "key.pem")


def test_a_gateway_makes_its_key_once_in_its_folder(tmp_path: Path) -> None:
    first, again = (open_keys("", tmp_path) for _ in range(2))

    assert first is not None
    assert again is not None
    assert first.signer.key_id == again.signer.key_id
    assert ids(first.public) == [first.signer.key_id]


def test_a_key_of_its_own_that_will_not_do_is_told_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / FILE_NAME
    broken.write_bytes(b"broken")

    assert open_keys("", tmp_path) is None
    assert describe(None) == {"keys": []}
    assert "stamps are not signed" in caplog.text
    assert broken.read_bytes() == b"broken"


def test_a_key_that_the_configuration_names_must_do(path: Path, tmp_path: Path) -> None:
    assert open_keys(str(path), tmp_path / "elsewhere") is not None
    path.chmod(0o644)

    with pytest.raises(ConfigurationError, match=r"Provenance\.SigningKey.*mode 0644"):
        open_keys(str(path), tmp_path)
    with pytest.raises(ConfigurationError, match=r"no signing key .*none\.pem"):
        open_keys(str(tmp_path / "none.pem"), tmp_path)


def test_rotation_keeps_what_was_signed_valid_and_the_old_secret_nowhere(path: Path) -> None:
    old = load_keys(path).signer
    secret = path.read_bytes()

    new = rotate_key(path)
    again = rotate_key(path)

    assert ids(again.retired) == sorted([old.key_id, new.signer.key_id])
    assert again.signer.key_id not in ids(again.retired)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert all(secret not in file.read_bytes() for file in path.parent.rglob("*") if file.is_file())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_root_rotates_stays_that_of_its_owner(path: Path) -> None:
    os.chown(path, 4711, 4712)

    rotate_key(path)

    made = [path, retired_folder(path), *retired_folder(path).iterdir()]
    assert len(made) == 3
    assert {(file.stat().st_uid, file.stat().st_gid) for file in made} == {(4711, 4712)}
    assert path.stat().st_mode & 0o7777 == 0o600


def test_a_key_that_cannot_be_given_back_to_its_owner_is_not_rotated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    owner = os.stat_result((*path.stat()[:4], 4711, 4712, *path.stat()[6:]))
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: owner if self == path else stat(self, **how))

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)

    with pytest.raises(KeyFileError, match="cannot be rotated: Operation not permitted"):
        rotate_key(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file for file in path.parent.rglob("*") if file.is_file()] == [path]


def test_a_retired_key_that_is_removed_is_no_longer_trusted(path: Path) -> None:
    old = load_keys(path).signer.key_id
    rotate_key(path)
    (retired_folder(path) / f"{old}.pem").unlink()

    assert load_keys(path).retired == ()


def test_what_is_told_of_the_keys_reads_back_and_holds_no_secret(path: Path) -> None:
    keys = rotate_key(path)
    told = json.dumps(describe(keys))

    assert "PRIVATE" not in told
    assert ids(read_public_keys(told.encode(), "test")) == ids(keys.public)
    assert [key["state"] for key in json.loads(told)["keys"]] == ["current", "retired"]


def test_a_file_may_hold_several_public_keys(path: Path) -> None:
    keys = rotate_key(path)
    text = "our keys\n" + "\n".join(map(pem_of, keys.public))

    assert ids(read_public_keys(text.encode(), "test")) == ids(keys.public)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no public keys"),
        (b"{", "no JSON"),
        (b'{"keys": 1}', "no JSON"),
        (b'{"keys": []}', "no public keys"),
        (b"[" * 100_000, "no public keys"),
        (b'{"keys":' + b"[" * 100_000, "no JSON"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
        (
            generate_ec_key(SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "another kind",
        ),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private key"),
    ],
)
def test_what_holds_no_public_key_is_refused_by_name(data: bytes, told: str) -> None:
    with pytest.raises(KeyFileError, match=told) as problem:
        read_public_keys(data, "/etc/keys.pem")

    assert "/etc/keys.pem" in str(problem.value)


@contextmanager
def serving(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers this, and the Authorization headers that it was shown."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_fetched_from_another_gateway_with_user_and_password(path: Path) -> None:
    keys = load_keys(path)
    with serving(200, json.dumps(describe(keys)).encode()) as (address, seen):
        found = fetch_public_keys(f"http://ada:se%40cret@{address}/provenance/api/keys")

    assert ids(found) == ids(keys.public)
    assert seen == ["Basic YWRhOnNlQGNyZXQ="]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"", "Unauthorized"),
        (500, b"", "Internal"),
        (200, b"<html>", "no public keys"),
        (200, b" " * (1 << 20), "no public keys"),
    ],
)
def test_what_cannot_be_fetched_is_told_without_the_password(status: int, body: bytes, told: str) -> None:
    with serving(status, body) as (address, _), pytest.raises(KeyFileError, match=told) as problem:
        fetch_public_keys(f"http://ada:secret@{address}/keys")

    assert address in str(problem.value)
    assert "secret" not in str(problem.value)


def test_a_redirection_is_not_followed(path: Path) -> None:
    keys = json.dumps(describe(load_keys(path))).encode()
    with (
        serving(200, keys) as (elsewhere, seen),
        serving(302, b"", Location=f"http://{elsewhere}/") as (address, _),
        pytest.raises(KeyFileError),
    ):
        fetch_public_keys(f"http://{address}/")

    assert seen == []


@pytest.mark.parametrize(
    "source", ["http://gateway.example/keys", "ftp://127.0.0.1/keys", "file:///etc/keys.pem", "https://[/"]
)
def test_keys_come_over_https_only(source: str) -> None:
    with pytest.raises(KeyFileError, match="https"):
        fetch_public_keys(source)


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "TIMEOUT_SECONDS", 0.0)
    monkeypatch.setattr(foreign, "_CHUNK", 1)

    class Dripping:
        def read1(self, _size: int) -> bytes:
            return b"-"

    with pytest.raises(TimeoutError):
        foreign._read_bounded(Dripping())  # type: ignore[arg-type]


def test_one_bad_source_costs_only_itself_and_is_told_once(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public = tmp_path / "public.pem"
    public.write_text(pem_of(load_keys(path).signer.public_key))
    bad = tmp_path / "bad.pem"
    now = 0.0
    trusted = TrustedKeys()
    keys = ForeignKeys([str(bad), str(public)], trusted, clock=lambda: now)

    keys.read_files()
    now = foreign.RETRY_SECONDS
    keys.step()

    assert trusted.find(load_keys(path).signer.key_id) is not None
    assert len(keys.problems) == 1
    assert [record.getMessage().count("bad.pem") for record in caplog.records] == [1]

    bad.write_bytes(public.read_bytes())
    now += foreign.RETRY_SECONDS
    keys.step()
    assert keys.problems == []


def test_a_key_that_another_gateway_takes_back_is_no_longer_trusted(path: Path, tmp_path: Path) -> None:
    old = load_keys(path).signer
    published = tmp_path / "published.json"
    published.write_text(json.dumps(describe(load_keys(path))))
    now = 0.0
    trusted = TrustedKeys()
    keys = ForeignKeys([str(published)], trusted, clock=lambda: now)
    keys.step()
    assert trusted.find(old.key_id) is not None

    rotate_key(path)
    (retired_folder(path) / f"{old.key_id}.pem").unlink()
    published.write_text(json.dumps(describe(load_keys(path))))
    now = foreign.REFRESH_SECONDS
    keys.step()

    assert trusted.find(old.key_id) is None
    assert trusted.find(load_keys(path).signer.key_id) is not None


def test_a_source_that_fails_for_a_while_keeps_the_keys_it_had(path: Path, tmp_path: Path) -> None:
    published = tmp_path / "published.json"
    published.write_text(json.dumps(describe(load_keys(path))))
    now = 0.0
    trusted = TrustedKeys()
    keys = ForeignKeys([str(published)], trusted, clock=lambda: now)
    keys.step()

    os.remove(published)
    now = foreign.REFRESH_SECONDS
    keys.step()

    assert trusted.find(load_keys(path).signer.key_id) is not None
    assert keys.problems


@pytest.mark.parametrize("user", ["", "researcher", "admin", "somebody"])
def test_whoever_orthanc_lets_in_may_read_the_public_keys(archive: Archive, user: str) -> None:
    response = archive.get("//provenance/api/keys", user=user)

    assert response.status_code == 200
    assert [key["state"] for key in response.get_json()["keys"]] in ([], ["current"])


def test_research_users_reach_the_public_keys_and_nothing_beside_them() -> None:
    claim = Claim(Requester("researcher"), "researcher", by_token=False)
    lock = Lock(Settings())

    assert lock.allows(claim, "/provenance/api/keys")
    assert lock.allows(claim, "/provenance/api/keys/")
    beside = ("/provenance/api", "/provenance/api/keys/1", "/provenance/api/keysx", "//provenance/api/keys")
    assert not any(lock.allows(claim, path) for path in beside)
