"""Percentiles and shares of bucket counts, against the values that were counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from mlops_assets.serving.telemetry import LATENCY_S
from mlops_assets.statistics.buckets import Buckets, exceeds

# At, just around and between the edges, and above the last one.
SECONDS = st.one_of(st.sampled_from(LATENCY_S), st.floats(min_value=0, max_value=20))


def counted(seconds: list[float]) -> Buckets:
    """As Prometheus counts."""
    histogram = Histogram("seconds", "of answers", buckets=LATENCY_S, registry=CollectorRegistry())
    for value in seconds:
        histogram.observe(value)
    (family,) = histogram.collect()
    return Buckets.of_counts({float(one.labels["le"]): one.value for one in family.samples if one.name == "seconds_bucket"})


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    true = float(np.quantile(seconds, share, method="inverted_cdf"))
    edges = [0.0, *LATENCY_S, math.inf]
    at = int(np.searchsorted(edges, true)) if true else 1
    quantile = counted(seconds).quantile(share)
    assert edges[at - 1] <= quantile <= min(edges[at], LATENCY_S[-1]), (true, quantile)


@given(st.lists(SECONDS, max_size=200), st.sampled_from(LATENCY_S))
def test_how_many_are_above_an_edge_is_exact(seconds: list[float], bound: float) -> None:
    assert counted(seconds).above(bound) == pytest.approx(sum(value > bound for value in seconds))


def test_without_values_a_percentile_is_undefined() -> None:
    assert math.isnan(Buckets.of_counts({}).quantile(0.5)) and Buckets.of_counts({}).above(1.0) == 0


def test_a_share_at_its_bound_is_an_alarm_as_rarely_as_declared_and_twice_as_much_is_one() -> None:
    random = np.random.default_rng(7)
    at_bound, doubled = random.binomial(10_000, 0.01, 2000), random.binomial(10_000, 0.02, 200)
    assert np.mean([exceeds(count, 10_000, 0.01, significance=0.01) for count in at_bound]) <= 0.015
    assert all(exceeds(count, 10_000, 0.01, significance=0.01) for count in doubled)
    assert not exceeds(1, 30, 0.01, significance=0.01), "3.3% of 30 is one failure"
    assert exceeds(1, 30, 0.0, significance=0.01) and not exceeds(0, 30, 0.0, significance=0.01)
