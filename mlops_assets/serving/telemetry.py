"""The Prometheus metrics of a server."""

import time
from collections import Counter as Counts
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest, values
from prometheus_client.registry import Collector

from mlops_assets.features.online.online_mirror import Missing
from mlops_assets.serving.http.answer import Answer

LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LOAD_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)
AGE_S = (1, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)


Origins = Counts[tuple[str, int, str]]  # rows by arm, version and source of features


def origins_of(answer: Answer) -> Origins:
    return Counts((row.arm, row.model_version, row.features_from) for row in answer.predictions)


class Telemetry:
    """The metrics of one use case in a server process, all in one registry. `edges_s` are further edges of the latency's
    buckets, so that a declared bound divides the answers exactly.
    """

    # Bento's own metrics are off: they miss some of the requests that end in 400 or 500
    # (https://github.com/bentoml/BentoML/issues/2052), and cost more than an inference.

    def __init__(self, edges_s: Collection[float] = ()) -> None:
        # Bento sets PROMETHEUS_MULTIPROC_DIR, which makes every metric of a process a slot in files that all registries
        # share. `values.ValueClass` is undocumented; tests/serving/test_telemetry.py fails when it has no effect.
        values.ValueClass = values.MutexValue
        own = self.registry = CollectorRegistry()
        # A child looked up by its labels costs as much as the counting itself.
        requests = Counter("mlops_requests", "Requests to /predict by HTTP status.", ["status"], registry=own)
        edges = sorted({*LATENCY_S, *edges_s})
        answers = Histogram(
            "mlops_answer_seconds", "From the whole request to the answer.", ["arm", "version"], buckets=edges, registry=own
        )
        predictions = Counter("mlops_predictions", "Answered rows.", ["arm", "version", "features_from"], registry=own)
        ages = Histogram("mlops_feature_age_seconds", "Age of a view's features.", ["view"], buckets=AGE_S, registry=own)
        missing = Counter("mlops_missing_features", "Rows answered without a view's features.", ["view", "reason"], registry=own)
        self._missing_of = cache(missing.labels)
        self._request, self._latency_of = cache(requests.labels), cache(answers.labels)
        self._prediction, self._age_of = cache(predictions.labels), cache(ages.labels)
        self.load = Histogram("mlops_model_load_seconds", "Reading, verifying, opening a model.", buckets=LOAD_S, registry=own)
        self.not_loaded = Counter("mlops_model_load_failures", "Plans that were not taken, at each attempt.", registry=own)
        self.cache = Counter("mlops_cache_reads", "Lookups in the cache of scores.", ["result"], registry=own)
        self.plan = Gauge("mlops_plan", "Number of the plan in force.", registry=own)
        # Which process counts: of two replicas behind one address, or before and after a restart, it is never the same.
        started = Gauge("mlops_started_seconds", "When this process began to count, in Unix time.", registry=own)
        started.set(time.time())
        self.in_flight = Gauge("mlops_in_flight", "Requests being answered.", registry=own)
        self.queue = Gauge("mlops_queue_requests", "Requests that wait for the feature lookup.", registry=own)
        self.unlogged = Counter("mlops_unlogged", "Rows answered without a log, as declared for a full disk.", registry=own)
        self.log_failures = Counter("mlops_log_failures", "Failed writes of the prediction log.", registry=own)
        self.challenger_failures = Counter(
            "mlops_challenger_failures", "Rows that the champion answered after the challenger failed.", registry=own
        )
        self.shadow_dropped = Counter("mlops_shadow_dropped", "Rows without a shadow score: it lags, or failed.", registry=own)

    def responded(self, status: int) -> None:
        self._request(str(status)).inc()

    def answered(self, counts: Origins, latency_ms: float) -> None:
        """One request; its latency counts once an arm."""
        for arm, version in {(arm, version) for arm, version, _source in counts}:
            self._latency_of(arm, str(version)).observe(latency_ms / 1000)
        for (arm, version, source), count in counts.items():
            self._prediction(arm, str(version), source).inc(count)

    def looked_up(self, ages: Mapping[str, float | None], missing: Missing) -> None:
        """The features of one row: their age by view, None where it is not known, and the views without a value."""
        for view, seconds in ages.items():
            if seconds is not None:
                self._age_of(view).observe(seconds)
        for view, reason in missing:
            self._missing_of(view, reason).inc()


@dataclass(frozen=True)
class _OfUseCases(Collector):
    """The metrics of several use cases, and those of their process, which have no such label. It is added when they are read, so
    that counting costs no more.
    """

    telemetries: Mapping[str, Telemetry]

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for use_case, telemetry in self.telemetries.items():
            for family in telemetry.registry.collect():
                samples = [sample._replace(labels={**sample.labels, "use_case": use_case}) for sample in family.samples]
                family.samples = [*families[family.name].samples, *samples] if family.name in families else samples
                families[family.name] = family
        yield from families.values()
        yield from ProcessCollector(registry=None).collect()


def page(telemetries: Mapping[str, Telemetry]) -> bytes:
    """The metrics by use case, in the text format of Prometheus."""
    return generate_latest(_OfUseCases(telemetries))
