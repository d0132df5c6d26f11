"""Unknown and expired features reach the caller as warnings, by whichever route and in whatever number of rows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from deploy.service import build_service
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.serving.inference.model_slots import QUICK_RUNS
from mlops_assets.serving.service import Service, open_service
from mlops_assets.serving.services import Services
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.feast.test_feature_store import KEYS, features_of, fill
from tests.serving.flights import FLIGHT, place_blessed

KNOWN_AT = datetime(2013, 7, 1, 10, tzinfo=UTC)
LATER = (KNOWN_AT + timedelta(days=1000)).isoformat()
UNKNOWN, EXPIRED = FLIGHT | {"tailnum": "N00000"}, FLIGHT | {"sched_dep": LATER}
TOO_EARLY = FLIGHT | {"sched_dep": (KNOWN_AT - timedelta(days=1)).isoformat()}  # looked up as of that moment
ROWS = [FLIGHT, UNKNOWN, EXPIRED, TOO_EARLY]


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TestClient]]:
    """The fast path, and Bento's own route behind it, over real features online."""
    home = Home(tmp_path_factory.mktemp("home"))
    place_blessed(home, 1, bias=-1).point(1, KNOWN_AT.isoformat(), "first")
    store = FeatureStore(home, service=USE_CASE.features.service)
    store.apply(PROJECT / "feature_repo")
    for view, names in features_of(store).items():
        fill(home.root, view, [{key: FLIGHT[key] for key in KEYS[view]} | {"at": KNOWN_AT, "value": 80.0}], names)
        store.materialize(view, KNOWN_AT)

    def open_() -> Service:
        return open_service({"MLOPS_ENV": "test", "MLOPS_HOME": str(home.root)}, USE_CASE)

    app: Any = build_service((USE_CASE,), lambda: Services([open_()])).to_asgi()
    with TestClient(app._bento) as bento:  # pyright: ignore[reportPrivateUsage]
        yield {"bento": bento, "fast path": TestClient(app)}


def warned(prediction: dict[str, Any]) -> dict[str, str]:
    """The views that the warnings name, with the words that distinguish unknown from expired."""
    texts = [text.split(" for this entity")[0].split(" has ") for text in prediction["warnings"]]
    return {view: words for view, words in texts if words in ("no value", "only expired values")}


def predict(client: TestClient, rows: list[dict[str, Any]], *, explain: bool) -> list[dict[str, str]]:
    response = client.post("/predict", json={"rows": rows, "explain": explain})
    assert response.status_code == 200, response.text
    return [warned(prediction) for prediction in response.json()["predictions"]]


@pytest.fixture(scope="module")
def expected() -> list[dict[str, str]]:
    expiring = ("origin_weather", "origin_delays", "carrier_delays", "route_delays", "route_schedule", "tail_delays")
    unknown = dict.fromkeys(("tail_delays", "plane"), "no value")
    return [{}, unknown, dict.fromkeys(expiring, "only expired values"), dict.fromkeys(KEYS, "no value")]


@pytest.mark.parametrize("explain", [False, True], ids=["plain", "explained"])
@pytest.mark.parametrize("route", ["fast path", "bento"])
def test_every_route_warns_of_unknown_and_expired_features(
    routes: dict[str, TestClient], expected: list[dict[str, str]], route: str, explain: bool
) -> None:
    alone = [predict(routes[route], [row], explain=explain)[0] for row in ROWS]
    assert alone == expected
    assert predict(routes[route], ROWS, explain=explain) == expected


@pytest.mark.parametrize("count", [1, 10, 100], ids=["in the loop", "in a batch", "by itself"])
def test_many_rows_are_warned_of_one_by_one(routes: dict[str, TestClient], expected: list[dict[str, str]], count: int) -> None:
    for _ in range(QUICK_RUNS):  # after so many quick runs the event loop answers
        predict(routes["fast path"], [FLIGHT], explain=False)
    assert predict(routes["fast path"], ROWS * count, explain=False) == expected * count
