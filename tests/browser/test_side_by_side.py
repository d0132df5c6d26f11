"""The side-by-side page in headless Chromium: it fits a wide screen and a phone, and its colours are drawn."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.web import CHROMIUM, NO_CHROMIUM, QUIET
from tests.training.two_models import compare_models, pictures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


@pytest.fixture(scope="module")
def browser() -> Any:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "light"), (1280, "dark")])
def test_the_page_fits_the_screen_and_better_and_worse_have_their_own_colours(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "side_by_side.html"
    file.write_text(compare_models().to_html(pictures()))
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(file.as_uri())
    page.screenshot(path=tmp_path / "side_by_side.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    right = "element => element.getBoundingClientRect().right"
    edges = [page.locator("section").first.evaluate(right), *(mark.evaluate(right) for mark in page.locator(".mark").all())]
    assert max(edges[1:]) <= edges[0]
    colours = {
        name: page.locator(f".mark.{name}").first.evaluate("e => getComputedStyle(e).color") for name in ("better", "worse")
    }
    assert colours["better"] != colours["worse"]
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.close()
