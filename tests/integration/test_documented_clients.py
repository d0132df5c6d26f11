"""The requests of README.md, docs/serving.md and deploy/README.md, sent verbatim to a running service."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.foundation.home import Home
from mlops_assets.serving.http.api_keys import ApiKeys
from tests.documentation.pages import PAGES, blocks_of
from tests.integration.running_service import AT, Server, started
from tests.serving.flights import place_blessed

ADDRESS = re.compile(r"https?://(localhost:3000|predictions\.example\.com)")
CLIENTS = [block for page in PAGES for block in blocks_of(page, "python") if "bentoml" in block.text]
CURLS = [block for page in PAGES for block in blocks_of(page, "sh") if "curl -s" in block.text]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of a service of one use case, and a token."""
    home = Home(tmp_path_factory.mktemp("home"))
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    token = ApiKeys(home.keys).add("demo", datetime.now(UTC), lambda: "a" * 43)
    server = Server(home, "tests.integration.varied_services:Sticky")
    with started(server):
        yield f"127.0.0.1:{server.port}", token


def test_the_clients_of_the_pages_get_predictions(place: tuple[str, str]) -> None:
    address, token = place
    (flight,) = re.findall(r"^flight = \{.*?^\}", CLIENTS[0].text, re.DOTALL | re.MULTILINE)
    variables: dict[str, Any] = {"TOKEN": token}
    exec(f"import bentoml\n{flight}", variables)
    for block in CLIENTS:
        text = ADDRESS.sub(f"http://{address}", block.text)
        text = text if "TOKEN" in text else text.replace(") as client", ", token=TOKEN) as client")
        exec(re.sub(r"^    (client)", r"    answer = \1", text, flags=re.MULTILINE), variables)
        (prediction,) = variables.pop("answer")["predictions"]
        assert prediction["model_version"] == 1 and ("explanation" in prediction) is ("explain" in text), block.place


def test_the_curl_lines_of_the_pages_are_answered(place: tuple[str, str], tmp_path: Path) -> None:
    address, token = place
    for block in CURLS:
        command = block.text[block.text.index("curl -s") :].replace("localhost:3000", address)
        command = command.replace("curl -s", f"curl -s -w '%{{http_code}}' -H 'X-API-Key: {token}'")
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("200"), (block.place, done.stdout)
