"""The bridge between the host's REST callbacks and the web app."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from orthanc_provenance.errors import Withdrawn
from orthanc_provenance.host.bridge import Bridge, BridgeError

Start = Callable[..., Any]


class Output:
    """What the host gives a callback to answer with; remembers the answer."""

    def __init__(self, fail_after: int = 1 << 30) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self._fail_after = fail_after

    def SetHttpHeader(self, name: str, value: str) -> None:
        self.headers[name] = value

    def SendHttpStatus(self, status: int, body: bytes) -> None:
        assert status not in (200, 301, 401, 405), "Orthanc refuses to send these in this way"
        self.status, self.chunks = status, [body]

    def SendUnauthorized(self, realm: str) -> None:
        self.status, self.chunks = 401, []
        self.headers["WWW-Authenticate"] = realm

    def SendMethodNotAllowed(self, allowed: str) -> None:
        self.status, self.chunks = 405, []
        self.headers["Allow"] = allowed

    def AnswerBuffer(self, body: bytes, content_type: str) -> None:
        self.status, self.chunks = 200, [body]
        self.headers["Content-Type"] = content_type

    def StartStreamAnswer(self, content_type: str) -> None:
        self.status = 200
        self.headers["Content-Type"] = content_type

    @property
    def body(self) -> bytes:
        """What a client makes of a streamed answer: its chunks (RFC 9112 section 7.1), whole or not."""
        rest, found = b"".join(self.chunks), []
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            found.append(rest[: int(length, 16)])
            rest = rest[int(length, 16) + 2 :]
        return b"".join(found)

    @property
    def is_complete(self) -> bool:
        """Whether a streamed answer says that it has ended."""
        return self.chunks[-1].endswith(b"\r\n0\r\n\r\n")

    def SendStreamChunk(self, chunk: bytes) -> None:
        if len(self.chunks) >= self._fail_after:
            raise ConnectionError("the client is gone")
        self.chunks.append(chunk)


@pytest.fixture
def serve() -> Iterator[Callable[..., Output]]:
    bridges: list[Bridge] = []

    def answer(
        app: Any, output: Output | None = None, decodes: bool = True, port: int = 8042, **request: Any
    ) -> Output:
        bridge = Bridge(app, port=port, decodes=decodes)
        bridges.append(bridge)
        bridge.start()
        output = output or Output()
        bridge.handle(output, "/a/b", {"method": "GET", **request}, "ada", "127.0.0.1")
        return output

    yield answer
    for bridge in bridges:
        bridge.stop()


def app_of(body: Iterable[bytes], status: str = "200 OK", *headers: tuple[str, str]) -> Any:
    def app(_environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start(status, [("Content-Type", "text/x"), *headers])
        return body

    return app


def test_a_short_answer_is_sent_whole_with_its_headers(serve: Callable[..., Output]) -> None:
    output = serve(app_of([b"a", b"", b"b"], "200 OK", ("X-More", "1"), ("Content-Length", "2")))

    assert (output.status, output.chunks) == (200, [b"ab"])
    assert output.headers == {"Content-Type": "text/x", "X-More": "1"}


@pytest.mark.parametrize(
    ("decodes", "given", "query"),
    [
        (True, {"a": "b c", "d": "1/2"}, "a=b+c&d=1%2F2"),
        (True, {"a": "50%25", "b": "1+2"}, "a=50%2525&b=1%2B2"),
        (False, {"a": "b%20c", "d%2F": "1+2"}, "a=b%20c&d%2F=1+2"),
        (False, {"accept": "application%2Fdicom", "e": ""}, "accept=application%2Fdicom&e="),
        # These were decoded, whatever is known of the host.
        (False, {"a": "b c", "d": "1+2"}, "a=b+c&d=1%2B2"),
        (False, {"a": "\u5c71"}, "a=%E5%B1%B1"),
        (False, {"a": "b&c"}, "a=b%26c"),
        (False, {}, ""),
    ],
)
def test_the_app_gets_the_arguments_as_they_stood_in_the_url(
    decodes: bool, given: dict[str, str], query: str, serve: Callable[..., Output]
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        return [environ["QUERY_STRING"].encode()]

    assert serve(app, decodes=decodes, get=given).chunks == [query.encode()]


def test_who_names_no_host_is_told_the_port_of_the_host(serve: Callable[..., Output]) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        return [f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}".encode()]

    assert serve(app, port=8043).chunks == [b"localhost:8043"]


def test_an_error_keeps_status_and_body(serve: Callable[..., Output]) -> None:
    output = serve(app_of([b"none"], "404 NOT FOUND"))

    assert (output.status, output.chunks) == (404, [b"none"])


def test_statuses_that_the_host_sends_in_its_own_way_keep_their_headers(serve: Callable[..., Output]) -> None:
    output = serve(
        app_of([b"no"], "405 METHOD NOT ALLOWED", ("Allow", "GET, HEAD, OPTIONS, POST"), ("X-More", "1"))
    )
    assert output.status == 405
    # The host answers HEAD and OPTIONS itself, with 404.
    assert output.headers == {"Allow": "GET, POST", "X-More": "1"}
    output = serve(app_of([b"no"], "401 UNAUTHORIZED", ("WWW-Authenticate", 'basic realm="Here"')))
    assert output.status == 401
    assert output.headers == {"WWW-Authenticate": "Here"}


def test_a_long_answer_goes_out_part_by_part_and_is_never_gathered(serve: Callable[..., Output]) -> None:
    ahead = []
    sent = Output()

    def parts() -> Iterator[bytes]:
        for number in range(50):
            ahead.append(number - len(sent.body) // (1 << 16))
            yield bytes(1 << 16)

    output = serve(app_of(parts()), sent)

    assert output.body == bytes(50 << 16)
    assert output.is_complete
    assert max(ahead) <= 8


def test_the_app_sees_the_request(serve: Callable[..., Output]) -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        seen.update(environ)
        seen["thread"] = threading.current_thread().name
        start("200 OK", [])
        return [environ["wsgi.input"].read()]

    output = serve(app, method="POST", body=b"xy", get={"a": "1 2"}, headers={"accept": "x/y"})

    assert output.chunks == [b"xy"]
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["REMOTE_USER"]) == ("/a/b", "a=1+2", "ada")
    assert (seen["HTTP_ACCEPT"], seen["CONTENT_LENGTH"]) == ("x/y", "2")
    assert seen["thread"].startswith("provenance-web")


def test_an_answer_that_breaks_off_raises_and_is_not_complete(serve: Callable[..., Output]) -> None:
    def parts() -> Iterator[bytes]:
        yield bytes(1 << 20)
        raise RuntimeError

    output = Output()
    with pytest.raises(BridgeError):
        serve(app_of(parts()), output)

    assert output.body == bytes(1 << 20)
    assert not output.is_complete


def test_an_app_that_fails_at_once_answers_that_it_failed(serve: Callable[..., Output]) -> None:
    def app(_environ: dict[str, Any], _start: Start) -> Iterable[bytes]:
        raise RuntimeError

    assert serve(app).status == 500


def test_what_changes_before_anything_is_sent_is_asked_for_again(serve: Callable[..., Output]) -> None:
    def body() -> Iterator[bytes]:
        yield b"["
        raise Withdrawn

    output = serve(app_of(body()))

    assert output.status == 503
    assert output.chunks == [b"what was asked for is changing at this moment; try again\n"]


def test_a_client_that_leaves_ends_the_answer(serve: Callable[..., Output]) -> None:
    closed = threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            closed.set()

    with pytest.raises(ConnectionError):
        serve(app_of(parts()), Output(fail_after=3))

    assert closed.wait(10)
