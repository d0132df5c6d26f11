"""README's pictures of one use case on the home of MLOPS_HOME: `python -m tests.browser.pictures flight_delay docs`."""

import os
import sys
from pathlib import Path
from typing import Any

from mlops_assets.cli.status import status_pages
from mlops_assets.foundation.home import PROJECT, Environment, read_environment
from mlops_assets.local.processes import free_port
from mlops_assets.local.web_page import served_page
from tests.browser.web import chromium_page, web_server

SETTLED_MS = 10_000


def take_pictures(page: Any, url: str, status_url: str, use_case: str, folder: Path) -> None:
    """The status page, the lineage with all groups open, and the evidence about the newest candidate."""
    page.goto(status_url)
    page.get_by_text(use_case, exact=True).first.wait_for()
    page.screenshot(path=folder / "status.png")
    page.goto(f"{url}/asset-groups")
    page.get_by_text(f"{use_case}_training").first.wait_for()
    page.keyboard.press("Alt+KeyE")  # unfolds all groups
    page.wait_for_url("**expanded=**")
    page.get_by_text("training_set").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLED_MS)  # the layout moves, and the nodes get their colours
    page.get_by_label("zoom_out").click()  # until the whole graph is in the picture
    page.wait_for_timeout(SETTLED_MS / 10)
    page.screenshot(path=folder / "lineage.png")
    page.goto(f"{url}/assets/{use_case}/evaluation")
    page.get_by_text("gates passed").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "evaluation.png")


def main(use_case: str, folder: Path) -> None:
    environment: Environment = read_environment(os.environ, PROJECT)
    status_url = f"http://127.0.0.1:{free_port()}"
    with web_server(environment.home, MLOPS_USE_CASE=use_case) as url, chromium_page(1800, 1200) as page:
        addresses = {"service": environment.service_url, "dagster": url, "status": status_url}
        with served_page(status_url, *status_pages(environment, addresses)):
            take_pictures(page, url, status_url, use_case, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
