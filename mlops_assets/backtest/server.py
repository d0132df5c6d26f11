"""Answers past requests with the real service, whose clock shows the time at which they are made."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import httpx
import msgspec
import polars as pl
from starlette.responses import PlainTextResponse

from mlops_assets.features.online.online_mirror import without_views
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.home import Environment
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.resources import Resources
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services
from mlops_assets.spec.use_case import UseCase

MAX_ROWS = 5000  # of one request


class NotAnswered(RuntimeError):
    """The service refused a request of the history."""


@dataclass(frozen=True)
class Server:
    """The service of one use case, started for each batch of requests and stopped after it, so that every shadow has scored."""

    use_case: UseCase
    environment: Environment
    resources: Resources

    def answer(self, requests: pl.DataFrame, *, at: datetime) -> None:
        """All at the moment `at`. Raises NotAnswered."""
        service = self._open(at)
        service.start()
        try:
            asyncio.run(self._send(service, requests.drop(EVENT_TIMESTAMP)))
        finally:
            service.stop()

    def batches(self, requests: pl.DataFrame) -> Iterator[tuple[datetime, pl.DataFrame]]:
        """The requests of each day, or of the shorter time that the service allows them to be old, and their last moment."""
        longest = min(ONE_DAY, self.use_case.serving.limits.max_past or ONE_DAY)
        start = requests[EVENT_TIMESTAMP].dt.truncate(f"{longest // timedelta(seconds=1)}s")
        for moment in start.unique().sort():
            batch = requests.filter(start == moment)
            yield batch[EVENT_TIMESTAMP][-1], batch

    def _open(self, at: datetime) -> Service:
        # Monitors resample the rows in the order of their ids: the same backtest has the same intervals.
        ids, features = Random(at.isoformat()), self.use_case.features
        chosen: dict[str, Any] = {"now": lambda: at, "new_id": lambda: f"{ids.getrandbits(128):032x}"}
        if not features.views:
            return assemble(self.use_case, self.environment, without_views, **chosen)
        store = self.resources["feature_store"].open(features.service)
        return assemble(self.use_case, self.environment, store.look_up, store.look_up_async, **chosen)

    async def _send(self, service: Service, requests: pl.DataFrame) -> None:
        app = ApiApp(PlainTextResponse("no other route"), lambda: Services([service]))
        transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] - both are ASGI
        async with httpx.AsyncClient(transport=transport, base_url=f"http://backtest/{self.use_case.name}") as client:
            for rows in requests.iter_slices(min(MAX_ROWS, self.use_case.serving.limits.max_rows)):
                content = msgspec.json.encode({"rows": rows.to_dicts()})
                reply = await client.post("/predict", content=content, headers={"Content-Type": "application/json"})
                if reply.is_error:
                    raise NotAnswered(f"{self.use_case.name} · HTTP {reply.status_code} · {reply.text[:500]}")
