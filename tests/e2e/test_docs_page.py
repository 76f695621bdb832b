"""The Swagger page in a real browser without internet: everything can be tried there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Route, expect, sync_playwright

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.tiny_transformer import write_transformer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("CI") != "true",
        reason="needs Chromium (Debian: apt-get install chromium)",
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "Chromium is missing"
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"]
    quiet += ["--disable-background-networking", "--disable-sync", "--no-proxy-server"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *quiet]
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page whose every request to another host fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1600})
    strangers: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith(server.base_url):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    opened.route(lambda url: not url.startswith(("data:", "blob:")), guard)
    yield opened
    opened.close()
    assert strangers == []


def test_the_front_door_leads_a_browser_to_the_docs(page: Page, server: Server) -> None:
    page.goto(server.base_url)
    expect(page).to_have_url(f"{server.base_url}/docs")
    expect(page.locator(".info .title")).to_contain_text("Modelyard")


def test_a_version_is_published_with_the_file_picker(
    page: Page, server: Server, tmp_path: Path
) -> None:
    write_transformer(tmp_path)
    page.goto(f"{server.base_url}/docs")
    operation = page.locator("#operations-versions-publish_version")
    operation.locator(".opblock-summary").click()
    operation.get_by_placeholder("name").fill("churn")
    operation.locator("input[type=file]").set_input_files(tmp_path / "model.safetensors")
    operation.locator("textarea").last.fill(
        '{"create_model": true, "metrics": {"auc": 0.91}, "aliases": ["champion"]}'
    )
    operation.locator("button.execute").click()
    live = operation.locator(".live-responses-table")
    expect(live.locator(".response-col_status").last).to_contain_text("201")
    expect(live).to_contain_text("model.safetensors")
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/publish.png")
    with server.client() as client:
        version = client.get("/api/v1/models/churn/versions/@champion").json()
    assert version["metrics"] == {"auc": 0.91}
    assert version["files"][0]["format"] == "safetensors"


def test_what_the_page_fills_in_changes_nothing_that_hurts(page: Page, server: Server) -> None:
    with server.client() as client:
        client.post("/api/v1/models", json={"name": "filled in"})
        files = {"m.safetensors": safetensors("filled in")}
        versions = "/api/v1/models/filled in/versions"
        assert publish(client, "filled in", files, aliases=["champion"]).status_code == 201
        page.goto(f"{server.base_url}/docs")
        for operation, status in (
            ("models-update_model", 200),
            ("versions-update_version", 200),
            ("versions-publish_version", 201),
        ):
            block = page.locator(f"#operations-{operation}")
            block.locator(".opblock-summary").click()
            block.get_by_placeholder("name").fill("filled in")
            if block.get_by_placeholder("ref").count():
                block.get_by_placeholder("ref").fill("1")
            if block.locator("input[type=file]").count():
                file = FilePayload(name="n.safetensors", mimeType="", buffer=safetensors("n"))
                block.locator("input[type=file]").set_input_files([file])
            block.locator("button.execute").click()
            live = block.locator(".live-responses-table")
            expect(live.locator(".response-col_status").last).to_contain_text(str(status))
        assert client.get(f"{versions}/@champion").json()["version"] == 1
        assert client.get(f"{versions}/latest").json()["version"] == 2
        assert client.get("/api/v1/models/filled in").json()["description"]


def test_a_model_is_registered_on_the_page(page: Page, server: Server) -> None:
    page.goto(f"{server.base_url}/docs")
    operation = page.locator("#operations-models-register_model")
    operation.locator(".opblock-summary").click()
    operation.locator("textarea").fill('{"name": "made in a browser"}')
    operation.locator("button.execute").click()
    live = operation.locator(".live-responses-table")
    expect(live.locator(".response-col_status").last).to_contain_text("201")
