"""Dagster's web server and headless Chromium on one home, without a daemon: runs that a person launches start at once."""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.local.processes import Child, free_port, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "no chromium on this machine: apt-get install chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE_MS = 120_000


@contextmanager
def web_server(home: Home, **variables: str) -> Generator[str]:
    """The address of a web server on the home."""
    port, script = str(free_port()), os.path.join(os.path.dirname(sys.executable), "dagster-webserver")
    url = f"http://127.0.0.1:{port}"
    own = {"DAGSTER_HOME": str(home.dagster), "MLOPS_HOME": str(home.root), "PYTHONWARNINGS": "ignore", **variables}
    command = [script, "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", port]
    child = Child("webserver", command, {**os.environ, **own}, home.logs / "webserver.log", PROJECT, f"{url}/server_info")
    with running([child]):
        yield url


@contextmanager
def chromium_page(width: int = 1500, height: int = 1000) -> Generator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()
