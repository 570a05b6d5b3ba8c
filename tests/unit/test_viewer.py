"""The viewer's server: OHIF's pages, and views that add their filter."""

from __future__ import annotations

from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from werkzeug.test import Client

from launch import viewer

ROOT = "/research/dicom-web"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What arrives at the gateway: `path?query`, as the proxy would ask for it."""
    questions: list[str] = []

    def proxy(app, targets):
        def answer(environ, start_response):
            setup_testing_defaults(environ)
            if not environ["PATH_INFO"].startswith(tuple(targets)):
                return app(environ, start_response)
            questions.append(f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}")
            start_response("200 OK", [])
            return [b""]

        return answer

    monkeypatch.setattr(viewer, "ProxyMiddleware", proxy)
    return questions


@pytest.fixture
def client(tmp_path: Path, asked: list[str]) -> Client:
    (tmp_path / "index.html").write_text("the viewer")
    (tmp_path / "app.js").write_text("code")
    return Client(viewer.application(tmp_path, "http://127.0.0.1:1", ROOT))


def test_the_research_root_is_passed_on_as_it_is(client: Client, asked: list[str]) -> None:
    client.get(f"{ROOT}/studies?limit=5")

    assert asked == [f"{ROOT}/studies?limit=5"]


@pytest.mark.parametrize(("query", "expected"), [("", "SyntheticData=NO"), ("a=b", "a=b&SyntheticData=NO")])
def test_a_view_adds_its_filter_to_searches_for_studies(
    client: Client, asked: list[str], query: str, expected: str
) -> None:
    client.get(f"/views/not-synthetic{ROOT}/studies?{query}")

    assert asked == [f"{ROOT}/studies?{expected}"]


def test_a_view_adds_nothing_to_other_requests(client: Client, asked: list[str]) -> None:
    client.get(f"/views/not-synthetic{ROOT}/studies/1.2/series")

    assert asked == [f"{ROOT}/studies/1.2/series?"]


@pytest.mark.parametrize(
    "path", ["/instances", "/provenance/api/status", "/dicom-web/studies", "/views/x/studies"]
)
def test_nothing_else_of_the_server_is_passed_on(client: Client, asked: list[str], path: str) -> None:
    assert client.get(path).text == "the viewer"
    assert asked == []


def test_pages_come_from_the_folder_and_from_nowhere_else(client: Client) -> None:
    assert client.get("/app.js").text == "code"
    assert client.get("/missing.js").status_code == 404
    assert client.get("/../../etc/hostname").text == "the viewer"
    assert client.get("/%2e%2e/%2e%2e/etc/passwd.txt").status_code == 404


def test_the_configuration_names_every_view(client: Client) -> None:
    script = client.get("/app-config.js").text

    assert f'"root": "{ROOT}"' in script
    assert f'"root": "/views/ai-derived{ROOT}"' in script
    assert "VIEWS" not in script
