"""The pictures of the README, taken from a running `make up` in a real browser.

Needs Debian's chromium. Usage: python docs/screenshots.py [URL of Dagster's UI]
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
GROUPS = ("spot832", "data832", "nersc", "pscratch")
WIDTH, HEIGHT = 1600, 1000
SETTLE_MS = 2_500
"""Dagster's UI draws the graph after its data has come; it says nowhere that it is done."""


def main(ui: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(ui, wait_until="networkidle")
        if page.get_by_role("button", name="Skip").count():
            page.get_by_role("button", name="Skip").click()
        page.goto(f"{ui}/asset-groups", wait_until="networkidle")
        page.wait_for_timeout(SETTLE_MS)
        for group in GROUPS:
            page.locator("svg foreignObject").get_by_text(group, exact=True).first.click()
            page.wait_for_timeout(SETTLE_MS)
        # The groups stay expanded, and a graph that is drawn anew fits the window.
        take(page, f"{ui}/asset-groups", "graph")
        page.goto(f"{ui}/assets/bl832/data832/nersc_tiff?view=events", wait_until="networkidle")
        page.get_by_text("[Show Markdown]").first.click()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=PICTURES / "materialization.png")
        browser.close()


def take(page: Page, address: str, name: str) -> None:
    page.goto(address, wait_until="networkidle")
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
