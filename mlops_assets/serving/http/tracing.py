"""Trace ids of requests, and OpenTelemetry spans where tracing is switched on.

Belongs here: reading a trace's parent, making spans, sending them off. Not here: the switch (OTEL_SDK_DISABLED, launch.py).
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

TRACEPARENT = (
    b"traceparent"  # 00-<32 hex digits: the trace>-<16: the parent span>-<2: flags>, https://www.w3.org/TR/trace-context
)
TRACE = slice(3, 35)
Headers = Sequence[tuple[bytes, bytes]]


class Tracing:
    """Every request belongs to a trace, that of its caller or a new one; spans are made where there is a `provider`."""

    def __init__(self, new_id: Callable[[], str], provider: Any = None) -> None:
        self._new_id, self._provider = new_id, provider
        self._tracer = provider and provider.get_tracer("mlops_assets.serving")

    def span(self, headers: Headers) -> Any:
        """A context that gives the trace id, 32 hex digits."""
        if self._tracer is None:
            return nullcontext(_trace_of(headers) or self._new_id())
        return self._span(headers)

    def stop(self) -> None:
        """Sends what has been recorded."""
        if self._provider is not None:
            self._provider.shutdown()

    @contextmanager
    def _span(self, headers: Headers) -> Generator[str]:
        from opentelemetry import trace
        from opentelemetry.propagate import extract

        context = extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
        with self._tracer.start_as_current_span("predict", context=context, kind=trace.SpanKind.SERVER) as span:
            yield trace.format_trace_id(span.get_span_context().trace_id)


def open_tracing(new_id: Callable[[], str], *, is_on: bool) -> Tracing:
    """Spans go by OTLP over HTTP to where OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT)."""
    if not is_on:
        return Tracing(new_id)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(new_id, provider)


def _trace_of(headers: Headers) -> str | None:
    said = next((value for name, value in headers if name == TRACEPARENT), b"")
    trace = said[TRACE].decode("latin-1")
    return trace if len(said) >= TRACE.stop and set(trace) <= set("0123456789abcdef") else None
