"""Canary: the undocumented parts of BentoML and uvicorn that deploy/ and serving/service.py use still behave as assumed.

When a test fails after an upgrade: adapt deploy/bento_internals.py, or `_configure_logging` in serving/service.py, alone.
"""

import asyncio
import logging
from typing import Any

import bentoml
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from deploy.bento_internals import service_class
from mlops_assets.serving.service import _configure_logging  # pyright: ignore[reportPrivateUsage]

PLAIN: Any = PlainTextResponse("plain")


def test_bento_serves_what_to_asgi_returns_and_shows_the_amended_document():
    class Inner:
        @bentoml.api
        def predict(self) -> str:
            return ""

    wrapped: list[Any] = []
    wrapper = service_class(lambda app: wrapped.append(app) or PLAIN, lambda spec: spec.paths.update({"/more": {}}), "# page")
    service: Any = bentoml.service(name="canary", service_class=wrapper)(Inner)
    assert service.to_asgi() is PLAIN and len(wrapped) == 1
    assert service.openapi_spec.info.description == "# page"
    assert {"/predict", "/more"} <= set(service.openapi_spec.paths)
    assert service.openapi_spec.paths["/predict"].post["responses"].keys() >= {200}


def test_uvicorn_formats_no_access_line_where_its_logger_has_no_handler(caplog: pytest.LogCaptureFixture):
    async def writes_access_lines() -> bool:
        config = uvicorn.Config(PLAIN, log_config=None)
        config.load()
        protocol: Any = config.http_protocol_class
        return protocol(config=config, server_state=ServerState(), app_state={}).access_log

    logger = logging.getLogger("uvicorn.access")
    logger.propagate = True
    assert asyncio.run(writes_access_lines()), "the test has handlers on the root logger"
    _configure_logging(as_json=False)
    assert not asyncio.run(writes_access_lines())
