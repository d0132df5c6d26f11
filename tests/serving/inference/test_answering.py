"""Requests that are answered together: what keeps one from its answer keeps no other."""

from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.factory import assemble
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed


class Unreachable:
    """An online store that is down."""

    def look_up(self, entity_rows: pl.DataFrame) -> LookupResult:
        raise OnlineStoreDown("online store · gone")


def test_requests_with_features_are_answered_while_the_online_store_is_down(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
    environment = Environment("local", Path(), home, "http://127.0.0.1:3000", USE_CASE.name)
    service = assemble(USE_CASE, environment, Unreachable())
    service.answering.slots.poll()
    bodies = [{"rows": [FLIGHT]}, {"features": [dict.fromkeys(USE_CASE.features.inputs)]}, {"rows": [FLIGHT]}]
    first, second, third = service.answering.answer_together([service.parse(msgspec.json.encode(body)) for body in bodies])
    assert first is third and isinstance(first, OnlineStoreDown)
    assert isinstance(second, bytes) and len(msgspec.json.decode(second)["predictions"]) == 1
