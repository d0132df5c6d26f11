"""Bodies in memory at the same time: those that arrive and those that wait for their answer."""

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient, Response
from starlette.responses import PlainTextResponse

from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.features.request_features import Columns
from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.http.app import BODIES_AT_ONCE, ApiApp
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed, temperatures

BODY = json.dumps({"rows": [FLIGHT]}).encode().ljust(1000)
SMALL = USE_CASE.but(serving=Serving(limits=Limits(max_body_bytes=len(BODY))))


async def ask(service: Service, count: int, release: threading.Event, **headers: str) -> tuple[list[Response], int]:
    """`count` requests, whose lookups end after `release`, and the bytes that were held before."""
    transport = ASGITransport(ApiApp(PlainTextResponse("Bento's"), lambda: Services([service])))  # type: ignore[arg-type]
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        posts = list[asyncio.Task[Response]]()
        for number in range(count):
            numbered = {key: f"{value}{number}" for key, value in headers.items()}
            posts.append(asyncio.create_task(client.post("/predict", content=BODY, headers=numbered)))
            await asyncio.sleep(0.01)  # a request with a key counts from the next turn of the event loop on
        held = service.buffered
        release.set()
        return await asyncio.gather(*posts), held


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "order "}], ids=["plain", "with a key"])
def test_a_body_counts_until_its_answer_so_that_waiting_requests_do_not_fill_the_memory(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    home, release, features = Home(tmp_path), threading.Event(), temperatures(("EWR", MOMENT, 80.0))
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")

    def look_up(columns: Columns) -> LookupResult:
        assert release.wait(10)
        return features.look_up(columns)

    service = assemble(SMALL, Environment("local", Path(), home), look_up)
    service.start()
    try:
        responses, held = asyncio.run(ask(service, BODIES_AT_ONCE + 9, release, **headers))
    finally:
        service.stop()
    assert Counter(response.status_code for response in responses) == {200: BODIES_AT_ONCE, 503: 9}
    (problem,) = {response.json()["error"]["found"] for response in responses if response.status_code == 503}
    assert problem == "too many large requests at once" and held == BODIES_AT_ONCE * len(BODY)
    assert service.buffered == 0
