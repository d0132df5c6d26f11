"""How live servers run: latency, throughput, errors, CPU, memory and cost, judged by the declared bounds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.moments import to_second
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.monitoring.server_load import FAILED, HOUR_S, Load
from mlops_assets.monitoring.server_samples import Sample, add_samples, sample_servers
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.monitor import Operations
from mlops_assets.statistics.buckets import exceeds

GRACE = timedelta(seconds=30)  # a server that is restarted answers earlier
SIGNIFICANCE = 0.01
PERCENTILES = (50, 95, 99)
POINTS = 48  # of a curve over the window


class Broken(NamedTuple):
    """A bound that is exceeded, of the figure `name`."""

    name: str
    sentence: str


class Look(NamedTuple):
    """The verdict, the samples behind it, and when to look again."""

    result: MonitorResult
    samples: Sequence[Sample]
    again_in: timedelta


def look(
    spec: Operations, services: Sequence[LiveService], use_case: str, table: Path, *, is_served: bool, now: datetime
) -> Look:
    """Reads the servers' metrics, adds them to the table, and judges its last window. Before the first champion none need run."""
    if not is_served:
        nothing = MonitorResult(Verdict.NOT_ENOUGH_DATA, "No version serves yet.", {}, reason_to_train=0.0)
        return Look(nothing, [], spec.interval)
    new = sample_servers(services, use_case, now=now)
    if not new:
        where = ", ".join(service.url for service in services) or "MLOPS_SERVICE_URL"
        remedy = f"Add {use_case}=http://host:port to MLOPS_SERVICE_URL, or serve it there (MLOPS_USE_CASE)."
        problem = f"No server of {use_case} is at {where}. {remedy}"
        return Look(MonitorResult(Verdict.ALARM, problem, {}, reason_to_train=0.0, symptoms=["servers"]), [], spec.interval)
    samples = add_samples(table, new, keep=spec.window + reach(spec))
    is_unsure = any(now - since < GRACE for since in silent_since(samples).values())
    return Look(judge_servers(spec, samples, now=now), samples, min(GRACE, spec.interval) if is_unsure else spec.interval)


def reach(spec: Operations) -> timedelta:
    """How long before the window a sample may be that stands for its start: an older one is from before a gap."""
    return 2 * spec.interval


def judge_servers(spec: Operations, samples: Sequence[Sample], *, now: datetime) -> MonitorResult:
    """Of the last window before `now`. A server that does not answer for GRACE is an alarm, however few the requests are."""
    load, silent = Load.of(samples, now - spec.window, now, reach=reach(spec)), silent_since(samples)
    gone = {server: since for server, since in silent.items() if now - since >= GRACE}
    resident = _resident(samples)
    broken = [*_broken(spec, load, resident)] if load.requests >= spec.min_requests else []
    problems = [*(_describe_silence(server, since) for server, since in gone.items()), *(one.sentence for one in broken)]
    verdict, message = Verdict.NOT_ENOUGH_DATA, ""
    if problems:
        verdict, message = Verdict.ALARM, f"{' '.join(problems)} {_sentence(spec, load)}"
    elif silent:
        message = f"{', '.join(silent)} does not answer. It is read again in {in_words(GRACE)}."
    elif load.requests < spec.min_requests:
        message = f"{load.requests:,.0f} requests in {in_words(spec.window)}; a verdict needs {spec.min_requests:,}."
    else:
        verdict, message = Verdict.HEALTHY, _sentence(spec, load)
    figures = measure(spec, load) | {"resident_mb": max(resident.values(), default=math.nan)}
    tables = {"servers": [*_servers(load, samples, silent)], "statuses": [*_statuses(load)]}
    return MonitorResult(verdict, message, figures, tables, reason_to_train=0.0, symptoms=[*gone, *(one.name for one in broken)])


def measure(spec: Operations, load: Load) -> dict[str, Any]:
    """nan where there is nothing to measure; no cost without a price or a prediction."""
    figures: dict[str, Any] = {f"latency_p{one}_ms": 1000 * load.latency_s.quantile(one / 100) for one in PERCENTILES}
    figures |= {"requests": round(load.requests), "predictions": round(load.predictions)}
    figures |= {"predictions_per_s": load.predictions / load.seconds if load.seconds else math.nan}
    figures |= {"error_rate": _share(load.failed, load), "refused_rate": _share(load.refused, load), "cpu_s": load.cpu_s}
    return figures | _cost(spec, load)


def _share(count: float, load: Load) -> float:
    return count / load.requests if load.requests else math.nan


def _cost(spec: Operations, load: Load) -> dict[str, Any]:
    priced = ((load.cpu_s / HOUR_S, "CPU h", spec.cost_per_cpu_hour), (load.server_hours, "server h", spec.cost_per_server_hour))
    parts = [(amount, unit, price) for amount, unit, price in priced if price]
    if not (parts and load.predictions):
        return {}
    terms = " + ".join(f"{amount:.4g} {unit} × {price:g}" for amount, unit, price in parts)
    cost = 1000 * sum(amount * price for amount, _unit, price in parts) / load.predictions
    return {"cost_per_1000": cost, "cost_formula": f"1000 × ({terms}) / {load.predictions:,.0f} predictions"}


def _broken(spec: Operations, load: Load, resident: Mapping[str, float]) -> Iterator[Broken]:
    answers = load.latency_s
    for percentile, bound in spec.max_latency_ms.items():
        slow, may = answers.above(bound / 1000), 1 - percentile / 100
        if exceeds(slow, answers.total, may, significance=SIGNIFICANCE):
            p_ms = 1000 * answers.quantile(percentile / 100)
            took = f"{slow / answers.total:.1%} of {answers.total:,.0f} answers took longer than {bound:g} ms, and {may:.0%} may"
            yield Broken(f"latency_p{percentile}_ms", f"{took}: p{percentile} is {p_ms:,.4g} ms.")
    if spec.max_error_rate is not None and exceeds(load.failed, load.requests, spec.max_error_rate, significance=SIGNIFICANCE):
        kinds = ", ".join(f"{count:,.0f} with {status}" for status, count in load.statuses.items() if status >= FAILED)
        share = f"{_share(load.failed, load):.2%} of {load.requests:,.0f} requests failed ({kinds})"
        yield Broken("error_rate", f"{share}, and {spec.max_error_rate:.2%} may. The service's log has the cause.")
    for server, megabytes in resident.items():
        if spec.max_resident_mb and megabytes > spec.max_resident_mb:
            yield Broken(
                "resident_mb", f"{server} has {megabytes:,.0f} MB resident, and {spec.max_resident_mb:,.0f} are declared."
            )
    cost = _cost(spec, load)
    if spec.max_cost_per_1000 and cost and cost["cost_per_1000"] > spec.max_cost_per_1000:
        found = f"1,000 predictions cost {cost['cost_per_1000']:,.4g}, and {spec.max_cost_per_1000:,.4g} is declared"
        yield Broken("cost_per_1000", f"{found}: {cost['cost_formula']}.")


def silent_since(samples: Sequence[Sample]) -> dict[str, datetime]:
    """The servers that did not answer the newest time, and since when they have not."""
    since = dict[str, datetime]()
    for sample in samples:  # in the order of time
        if sample.process is None:
            since.setdefault(sample.server, sample.sampled_at)
        else:
            since.pop(sample.server, None)
    newest = max((sample.sampled_at for sample in samples), default=None)
    named = {sample.server for sample in samples if sample.sampled_at == newest}  # others are not servers any more
    return {server: at for server, at in since.items() if server in named}


def _describe_silence(server: str, since: datetime) -> str:
    return f"{server} has not answered since {to_second(since)}. Look into the service's log."


def _sentence(spec: Operations, load: Load) -> str:
    measured = measure(spec, load)
    cost = f", {measured['cost_per_1000']:,.4g} per 1,000 predictions" if "cost_per_1000" in measured else ""
    figures = f"p99 {measured['latency_p99_ms']:,.4g} ms, {measured['error_rate']:.2%} failed{cost}"
    return f"{load.requests:,.0f} requests in {in_words(spec.window)}: {figures}."


def _resident(samples: Sequence[Sample]) -> dict[str, float]:
    """The newest of each server, in MB."""
    return {sample.server: sample.resident_mb for sample in samples if sample.resident_mb is not None}


def _servers(load: Load, samples: Sequence[Sample], silent: Mapping[str, datetime]) -> Iterator[dict[str, Any]]:
    """Also those that answered earlier in the window. A restart is a further process."""
    resident = _resident(samples)
    for server in sorted(load.servers | silent.keys()):
        own = load.of_server(server)
        p99_ms = 1000 * own.latency_s.quantile(0.99)
        counts = {"processes": len(own.spans), "requests": round(own.requests), "failed": round(own.failed)}
        used = {"p99_ms": p99_ms, "cpu_s": own.cpu_s, "resident_mb": resident.get(server, math.nan)}
        yield {"server": server, "answers": server not in silent, **counts, **used}


def _statuses(load: Load) -> Iterator[dict[str, Any]]:
    for status, count in load.statuses.items():
        yield {"status": status, "requests": round(count), "share": _share(count, load)}


def pictures(spec: Operations, samples: Sequence[Sample], *, now: datetime) -> dict[str, bytes]:
    """The latency between samples over the window. Imports matplotlib."""
    from mlops_assets.statistics.time_plots import latency_over_time

    moments = sorted({sample.sampled_at for sample in samples if now - spec.window <= sample.sampled_at <= now})
    moments = moments[:: max(1, len(moments) // POINTS)]
    loads = [Load.of(samples, *pair, reach=timedelta(0)) for pair in pairwise(moments)]
    curves = {f"p{one}": [1000 * load.latency_s.quantile(one / 100) for load in loads] for one in PERCENTILES}
    return {"latency": latency_over_time(moments[1:], curves)} if loads else {}
