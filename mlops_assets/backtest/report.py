"""The page of a backtest: the timeline of decisions, the metric against two rivals, alarms, trainings, costs."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from mlops_assets.backtest.chart import Chart
from mlops_assets.backtest.results import FROZEN, RETRAINED, SERVED, Part, Results
from mlops_assets.backtest.timeline import timeline
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.page import render
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.gate import LOWER_IS_BETTER

NAMES = {SERVED: "served", FROZEN: "frozen first model", RETRAINED: "retrained in every step"}
OVER = {FROZEN: "the frozen first model", RETRAINED: "a training in every step"}


class Verdict(NamedTuple):
    """`tone` is good, bad or plain."""

    tone: str
    title: str
    text: str


def to_html(results: Results) -> str:
    """One self-contained page, without requests to other places."""
    settings, replay, metric = results.settings, results.replay, results.metrics[0]
    decisions = timeline(replay, results.records)
    chart = Chart(metric, results.steps, settings.start, settings.end, decisions, _champions(results))
    second = next((name for name in results.metrics[1:] if name in LOWER_IS_BETTER), None)
    costs = {
        "this policy": results.costs.policy,
        "no training after the first": results.costs.frozen,
        "a training in every step": results.costs.retrained,
        "best schedule in hindsight": results.costs.best,
    }
    return render(
        "backtest",
        title=f"Backtest of {settings.use_case.name}",
        results=results,
        settings=settings,
        step=in_words(settings.every),
        decisions=decisions,
        chart=chart,
        metric=metric,
        shown=(metric, second) if second else (metric,),
        lower=LOWER_IS_BETTER,
        contenders=NAMES,
        over=OVER,
        verdict=verdict_of(results),
        refused=sum(one.outcome == "refused" for one in replay.trainings),
        requests=sum(step.requests for step in replay.steps),
        costs=costs,
    )


def verdict_of(results: Results) -> Verdict:
    """The policy against the frozen first model, and what it took."""
    metric, replay = results.metrics[0], results.replay
    gain, whole = results.gains[FROZEN][metric], results.whole.metrics
    word, tone = ("better", "good") if gain.low > 0 else ("worse", "bad") if gain.high < 0 else ("no different", "plain")
    values = f"{metric} {whole[SERVED][metric]:.4f} against {whole[FROZEN][metric]:.4f}"
    counts = Counter(one.outcome for one in replay.trainings[1:])
    trained = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    alarms = len({(alarm.monitor, alarm.at) for alarm in replay.alarms})
    ahead = sum(_is_ahead(part, metric) for part in results.months)
    months, trainings = counted(len(results.months), "month"), counted(sum(counts.values()), "training")
    text = (
        f"At least as good in {ahead} of {months}. {trainings} after the first{f' ({trained})' if trained else ''}, "
        f"{counted(alarms, 'alarm')} in {counted(len(replay.steps), 'step')}."
    )
    return Verdict(tone, f"The policy served {word} than the frozen first model: {values}.", text)


def _is_ahead(part: Part, metric: str) -> bool:
    """Or level."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return sign * (part.metrics[SERVED][metric] - part.metrics[FROZEN][metric]) >= 0


def _champions(results: Results) -> list[tuple[datetime, int]]:
    """The moments at which another version became the champion."""
    plans = [(datetime.fromisoformat(one.at), one.body["plan"]["champion"]) for one in results.records if "plan" in one.body]
    before = [None, *(version for _at, version in plans)]
    return [(at, version) for (at, version), last in zip(plans, before, strict=False) if version != last]
