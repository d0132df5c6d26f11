"""Bento's own clients against the running service, with and without a key."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException, InvalidArgument

from mlops_assets.foundation.home import Home
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.running_service import AT, Server, started
from tests.integration.traffic import flights
from tests.serving.flights import FLIGHT, place_blessed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=[False, True], ids=["no key", "key"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str | None]]:
    """Address and token of a running service."""
    home = Home(tmp_path_factory.mktemp("home"))
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    token = ApiKeys(home.keys).add("demo", datetime.now(UTC), lambda: "a" * 43) if request.param else None
    server = Server(home, "tests.integration.varied_services:Sticky")
    with started(server):
        yield f"http://127.0.0.1:{server.port}", token


def test_the_synchronous_client_gets_one_row_many_rows_and_our_errors(place: tuple[str, str | None]):
    url, token = place
    with bentoml.SyncHTTPClient(url, token=token) as client:
        predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        (one,) = predict(rows=[FLIGHT])["predictions"]
        many = predict(rows=flights(0, 300))["predictions"]
        (explained,) = predict(rows=[FLIGHT], explain=True)["predictions"]
        with pytest.raises(InvalidArgument, match="one of EWR, JFK, LGA") as refused:
            predict(rows=[FLIGHT, FLIGHT | {"origin": "BOS"}])
    assert one["model_version"] == 1 and len(many) == 300 and "contributions" in explained["explanation"]
    assert '"row":1,"field":"origin"' in str(refused.value)


def test_the_asynchronous_client_gets_the_same(place: tuple[str, str | None]):
    url, token = place

    async def main() -> tuple[Any, list[Any], str]:
        async with bentoml.AsyncHTTPClient(url, token=token) as client:
            predict: Any = client.predict  # pyright: ignore[reportUnknownMemberType]
            one = await predict(rows=[FLIGHT])
            many = await asyncio.gather(*(predict(rows=flights(turn, 2)) for turn in range(5)))
            with pytest.raises(InvalidArgument, match="Send at least one row"):
                await predict(rows=[])
            with pytest.raises(InvalidArgument, match="one of EWR, JFK, LGA") as refused:
                await predict(rows=[FLIGHT, FLIGHT | {"origin": "BOS"}])
            return one, many, str(refused.value)

    one, many, problem = asyncio.run(main())
    assert [row["model_version"] for row in one["predictions"]] == [1]
    assert [len(answer["predictions"]) for answer in many] == [2] * 5
    assert '"row":1,"field":"origin"' in problem


def test_without_its_key_the_client_raises_bento_s_error(place: tuple[str, str | None]):
    url, token = place
    with bentoml.SyncHTTPClient(url) as client:
        predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        if token is None:
            assert len(predict(rows=[FLIGHT])["predictions"]) == 1
        else:
            with pytest.raises(BentoMLException, match="no API key"):
                predict(rows=[FLIGHT])


def test_without_its_key_the_asynchronous_client_raises_bento_s_error(place: tuple[str, str | None]):
    url, token = place

    async def send() -> Any:
        async with bentoml.AsyncHTTPClient(url) as client:
            predict: Any = client.predict  # pyright: ignore[reportUnknownMemberType]
            return await predict(rows=[FLIGHT])

    if token is None:
        assert len(asyncio.run(send())["predictions"]) == 1
    else:
        with pytest.raises(BentoMLException, match="no API key"):
            asyncio.run(send())


def test_the_schema_names_inputs_and_outputs_with_and_without_a_key(place: tuple[str, str | None]):
    url, _ = place
    (route, *_) = httpx.get(f"{url}/schema.json").raise_for_status().json()["routes"]
    assert (route["name"], route["route"]) == ("predict", "/predict")
    inputs, outputs = route["input"]["properties"], route["output"]["properties"]
    assert [*inputs["rows"]["items"]["properties"]] == [*USE_CASE.features.request]
    assert [*inputs["features"]["items"]["properties"]] == [*USE_CASE.features.inputs]
    assert {"prediction_id", "probability", "decision"} <= {*outputs["predictions"]["items"]["properties"]}
