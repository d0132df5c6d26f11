"""The symbols of BentoML 1.4 that its documentation does not describe; tests/serving/http/test_bento_internals.py checks them."""

from collections.abc import Callable
from typing import Any

import bentoml


def service_class(wrap: Callable[[Any], Any], amend: Callable[[Any], None], page: str) -> Any:
    """A class for `bentoml.service(service_class=…)`: `wrap` gets its ASGI application, `amend` its OpenAPI document. `page` is
    the Markdown at the top of its web page.
    """

    class WrappedService(bentoml.Service[Any]):
        @property
        def doc(self) -> str:
            return page

        # Bento's public `add_asgi_middleware` puts an application behind its own middleware, 270 µs a request.
        def to_asgi(self, is_main: bool = True) -> Any:
            return wrap(super().to_asgi(is_main))

        @property
        def openapi_spec(self) -> Any:
            spec = super().openapi_spec
            amend(spec)
            return spec

    return WrappedService
