"""The pictures of the README, taken from a running `make up` in a real browser.

Needs Debian's chromium, and a scan that is done (`make scan`). Usage: python docs/screenshots.py [URL of Dagster's UI]
"""

import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
RESULT = "bl832/data832/nersc_tiff"
WIDTH, HEIGHT = 1600, 1000
PATIENCE_MS = 120_000
SETTLE_MS = 4_000
"""Dagster's UI draws the graph after its data has come; it says nowhere that it is done."""


def main(ui: str) -> None:
    """Take them all; the scan of a `make scan` has to be done."""
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(ui)
        page.get_by_text("Lineage", exact=True).wait_for()
        page.wait_for_timeout(SETTLE_MS)
        if page.get_by_role("button", name="Skip").count():
            page.get_by_role("button", name="Skip").click()
        graph = page.locator("svg foreignObject").first
        take(page, f"{ui}/asset-groups", graph, "graph")
        take(page, f"{ui}/assets/{RESULT}?view=lineage&lineageScope=upstream&lineageDepth=9", graph, "way")
        page.goto(f"{ui}/assets/{RESULT}?view=events")
        page.get_by_text("[Show Markdown]").first.click()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=PICTURES / "materialization.png")
        browser.close()


def take(page: Page, address: str, sign: Locator, name: str) -> None:
    """The picture of a page, some time after a sign of it is there."""
    page.goto(address)
    sign.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    while (unknown := page.get_by_text("fetching statuses")).count():
        unknown.first.wait_for(state="detached")
    page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
