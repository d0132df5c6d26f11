"""The real Bento service of the shop, for the tests to start: features of a Redis that may be down, and rows that wait in memory."""

import os
from datetime import timedelta

from deploy.service import build_service
from mlops_assets.serving.services import open_services
from mlops_assets.spec.serving import AnswerLog, Limits, Serving
from tests.erasure.shop import SHOP

LIVE = SHOP.but(
    features=SHOP.features.but(when_down="last_known"),
    serving=Serving(
        log=AnswerLog(max_lost_rows=10_000, flush_every=timedelta(seconds=1.5)), limits=Limits(timeout=timedelta(seconds=2))
    ),
)
Live = build_service((LIVE,), lambda: open_services(os.environ, (LIVE,)))
