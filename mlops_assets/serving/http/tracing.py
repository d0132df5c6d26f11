"""Trace ids of requests, and OpenTelemetry spans where tracing is switched on."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from mlops_assets.serving.http.request import Headers

# 00-<32 hex digits: the trace>-<16: the parent span>-<2: flags>, https://www.w3.org/TR/trace-context
TRACE_ID = re.compile(rb"..-([0-9a-f]{32})")


class Tracing:
    """Each request has its caller's trace or a new one. With `is_on` spans are sent to OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self, new_id: Callable[[], str], *, use_case: str, is_on: bool) -> None:
        self._new_id, self._attributes, self._tracer = new_id, {"use_case": use_case}, None
        self.stop: Callable[[], None] = lambda: None  # sends the spans that are still in memory
        if is_on:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer, self.stop = provider.get_tracer("mlops_assets.serving"), provider.shutdown

    def span(self, headers: Headers) -> Any:
        """A context manager that yields the trace id, 32 hex digits."""
        if self._tracer is None:
            match = TRACE_ID.match(next((value for name, value in headers if name == b"traceparent"), b""))
            return nullcontext(match[1].decode() if match else self._new_id())
        return self._span(self._tracer, headers)

    @contextmanager
    def _span(self, tracer: Any, headers: Headers) -> Generator[str]:
        from opentelemetry import trace
        from opentelemetry.propagate import extract

        context = extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
        kind = trace.SpanKind.SERVER
        with tracer.start_as_current_span("predict", context=context, kind=kind, attributes=self._attributes) as span:
            yield trace.format_trace_id(span.get_span_context().trace_id)
