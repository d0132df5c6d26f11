"""The memory that a request takes from a running service, compared with its size."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.foundation.home import Home
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.hostile_clients import MB, sent
from tests.integration.running_service import AT, Server, started
from tests.serving.flights import FLIGHT, place_blessed

pytestmark = pytest.mark.integration

MOST = USE_CASE.serving.limits.max_body_bytes
ROWS = json.dumps({"rows": [FLIGHT] * USE_CASE.serving.limits.max_rows}).encode()
LINE = json.dumps({"rows": [FLIGHT | {"carrier": "A" * MOST}]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Home(tmp_path_factory.mktemp("home")), "tests.integration.varied_services:Sticky")
    place_blessed(server.home, 1, bias=-1).point(1, AT, "first")
    with started(server):
        server.predict({"rows": [FLIGHT]})  # the libraries that the first answer loads
        yield server


def peak_of(server: Server, head: str, pieces: list[bytes]) -> tuple[int | None, float]:
    """The status, and how far the process grew at most, in MB: as Linux counts it, and not by looking now and then."""
    folder = Path(f"/proc/{server.worker().pid}")
    (folder / "clear_refs").write_text("5")  # the peak is reset: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    before = server.worker().memory_info().rss
    status = sent(server, head, pieces)
    peak = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return status, (int(peak.split()[1]) * 1024 - before) / MB


def chunks(body: bytes) -> list[bytes]:
    parts = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    return [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "chunked"])
@pytest.mark.parametrize(
    ("body", "status", "most"),
    [(ROWS.ljust(MOST), 200, 8), (LINE[:MOST], 400, 4), (ROWS.ljust(MOST + 1), 413, 2), (LINE[: 3 * MOST], 413, 2)],
    ids=["the largest legal request", "a line of the largest size", "a byte too many", "a line that is too long"],
)
def test_a_request_takes_a_few_times_its_size(server: Server, body: bytes, status: int, most: float, *, is_chunked: bool):
    head = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
    answered, grew_mb = peak_of(server, head, chunks(body) if is_chunked else [body])
    assert answered in (status, None) if status == 413 else answered == status
    assert grew_mb < most * MOST / MB
