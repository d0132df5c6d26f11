"""How often rollouts are rolled back, of each task: 1,000 with no difference, 500 as bad as is declared bearable, 200 for each
planted harm.

Whole rollouts, from shadow to full, through the code that decides in production. Ends with code 1 when harmless rollouts are
rolled back more often than declared. Writes docs/rollouts.md and docs/rollouts.png; the same seeds give the same files.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from mlops_assets.spec.rollout import Canary
from mlops_assets.statistics.plots import FAINT, INK
from tests.rollout.rollout_traffic import begin, roll_out, traffic
from tests.rollout.simulated_lines import BINARY, MULTICLASS, REGRESSION, Harm, Line

DOCS = Path(__file__).resolve().parents[2] / "docs"
CANARY = Canary()
SEED, HARMED, CONFIDENCE = 5, 200, 0.99
HARMLESS = {"no difference": 1000, "as bad as declared bearable": 500}
LOOK = 250  # requests to the challenger between two looks
ERRORS, SLOW = CANARY.rollback.max_error_gap, CANARY.rollback.max_slow_gap
# The first two are harmless; the second is as bad as it may be: errors and slow calls to the point, the loss of the task as near
# as `loss_of` can tell.
WORLDS: dict[str, dict[str, tuple[str, Harm]]] = {
    "Binary": {
        "no difference": ("harmless", Harm()),
        "as bad as declared bearable": ("harmless", Harm(errors=ERRORS, slow=SLOW, noise=0.61)),
        "errors +0.5 points": ("errors", Harm(errors=0.005)),
        "errors +1 point": ("errors", Harm(errors=0.01)),
        "errors +2 points": ("errors", Harm(errors=0.02)),
        "errors +5 points": ("errors", Harm(errors=0.05)),
        "slow calls +2 points": ("latency", Harm(slow=0.02)),
        "slow calls +5 points": ("latency", Harm(slow=0.05)),
        "slow calls +10 points": ("latency", Harm(slow=0.10)),
        "predictions noisier by 0.9": ("quality", Harm(noise=0.9)),
        "predictions noisier by 1.3": ("quality", Harm(noise=1.3)),
        "predictions noisier by 1.7": ("quality", Harm(noise=1.7)),
        "scores up by 1 in log-odds": ("score", Harm(shift=1.0)),
        "scores down by 1 in log-odds": ("score", Harm(shift=-1.0)),
        "the same score for all": ("score", Harm(constant=True)),
    },
    "Multiclass": {
        "no difference": ("harmless", Harm()),
        "as bad as declared bearable": ("harmless", Harm(errors=ERRORS, slow=SLOW, noise=0.4)),
        "predictions noisier by 0.6": ("quality", Harm(noise=0.6)),
        "predictions noisier by 0.9": ("quality", Harm(noise=0.9)),
        "predictions noisier by 1.3": ("quality", Harm(noise=1.3)),
        "two classes exchanged": ("score", Harm(exchanged=True)),
        "the rare class up by 1.5 in log-odds": ("score", Harm(shift=1.5)),
        "the same answer for all": ("score", Harm(constant=True)),
    },
    "Regression": {
        "no difference": ("harmless", Harm()),
        "as bad as declared bearable": ("harmless", Harm(errors=ERRORS, slow=SLOW, noise=8.0)),
        "predictions noisier by 15": ("quality", Harm(noise=15)),
        "predictions noisier by 25": ("quality", Harm(noise=25)),
        "predictions noisier by 40": ("quality", Harm(noise=40)),
        "predictions up by 30": ("score", Harm(shift=30)),
        "predictions down by 30": ("score", Harm(shift=-30)),
        "another unit, such as minutes for hours": ("score", Harm(factor=60)),
        "the same answer for all": ("score", Harm(constant=True)),
    },
}
LINES: dict[str, Line] = {"Binary": BINARY, "Multiclass": MULTICLASS, "Regression": REGRESSION}
Ends = dict[str, list["End"]]


@dataclass(frozen=True)
class End:
    """How one rollout ended: rolled back or not, after how many requests, `to_challenger` of them to the challenger, at which share
    (0: shadow)."""

    rolled_back: bool
    requests: int
    to_challenger: float
    share: float


def one_end(seed: int, task: str, harm: Harm) -> End:
    to_challenger, before = 0.0, 0
    looks = list(roll_out(CANARY, np.random.default_rng(seed), harm, every=LOOK, line=LINES[task]))
    for requests, share, _ in looks:
        to_challenger, before = to_challenger + (requests - before) * (share or 1), requests
    return End(looks[-1][2].kind == "roll_back", before, to_challenger, looks[-1][1])


def interval(hits: int, trials: int) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson) of CONFIDENCE."""
    bounds = stats.binomtest(hits, trials).proportion_ci(CONFIDENCE, method="exact")
    return float(bounds.low), float(bounds.high)


def loss_of(line: Line, harm: Harm) -> float:
    """How much larger the challenger's loss is, over 500,000 rows that both score: within 0.0003 or so."""
    edges = begin(CANARY, np.random.default_rng(SEED), line).edges
    rows = traffic(np.random.default_rng(SEED), 500_000, share=0.0, harm=Harm(noise=harm.noise), line=line)
    truth = line.task.truth(rows[line.label])
    ours, theirs = (line.task.losses(line.task.logged(rows, who), truth, edges).mean() for who in ("", "champion_"))
    return float(ours) - float(theirs)


def row(name: str, ends: Sequence[End]) -> str:
    back = [end for end in ends if end.rolled_back]
    low, high = interval(len(back), len(ends))
    rolled_back = f"{len(back) / len(ends):.1%} ({low:.1%} to {high:.1%})"
    if not back:
        return f"| {name} | {len(ends):,} | {rolled_back} | | | |"
    requests, to_challenger = ([getattr(end, counted) for end in back] for counted in ("requests", "to_challenger"))
    spread = (f"{np.median(counts):,.0f} / {np.percentile(counts, 90):,.0f}" for counts in (requests, to_challenger))
    where = ", ".join(f"{sum(end.share == share for end in back)} {_where(share)}" for share in CANARY.shares[:-1])
    return f"| {name} | {len(ends):,} | {rolled_back} | {' | '.join(spread)} | {where} |"


def _where(share: float) -> str:
    return f"at {share:.0%}" if share else "in shadow"


def section(task: str, table: Sequence[str]) -> str:
    return f"""### {task}

| planted | rollouts | rolled back ({CONFIDENCE:.0%} interval) | requests until then, median / 90% | of them to the challenger | where |
|---|--:|--:|--:|--:|---|
{chr(10).join(table)}"""


def page(tables: dict[str, list[str]]) -> str:
    limits = CANARY.rollback
    return f"""# Rollouts: how often they are rolled back, and how soon

A rollout declared as `Canary()` waits for {CANARY.shadow_rows:,} predictions of its challenger in the shadow and {CANARY.step_rows:,} at {" and ".join(f"{share:.0%}" for share in CANARY.steps[:-1])}
of the traffic each, and then lets it serve all requests. `Rollback()` bounds the rate of false rollbacks of a whole rollout at **{limits.false_alarm_rate:.0%}**,
however often the evidence is examined. This page is made by `make bench` (`tests/benchmarks/bench_rollout.py`), which fails when more than that are
rolled back without a difference, in 1,000 rollouts of each task.

{(chr(10) * 2).join(section(task, table) for task, table in tables.items())}

![Share of the rollouts rolled back against the challenger's requests, Binary](rollouts.png)

"As bad as declared bearable" is {limits.max_error_gap:.1%} failing calls, {limits.max_slow_gap:.0%} more slow ones and a loss higher by nearly {limits.max_quality_loss:g}, all at
once. The loss is the Brier score (of several classes half the sum of squared errors), or for a regression |error| / spread of the champion's predictions, at most 1.
Noise is in log-odds, or in the unit of the label, of which the champion's predictions spread over some 140 from 5% to 95%; truths of the regression have outliers without a
variance. Failing and slow calls are the same tests for every task. What is not rolled back went on to all of the traffic; from then on the monitors watch. Labels are known at once here: in
production they come later, and a rollout sees of them what `step_for` waits for. Looks come every {LOOK} requests to the challenger.

## How a rollout decides

1. Routing draws who answers, at random and whatever the traffic. So if the challenger is no worse, what a request meets
   does not tell who answered it, even while the base rate drifts. That independence is what is tested.
2. Each test bets on outcomes in [0, 1]: a failed call, a slow call, the squared error, the business figure, a score above a level.
3. A row pays (A − share) · (outcome − margin · A − m), A being 1 where the challenger was drawn and m the champion's mean before.
   If the challenger is worse by the margin at most, nobody is expected to win.
4. Eleven bettors stake 1/2 to 1/2048 of what they have. Their mean wealth reaches 1/a with probability at most a, ever.
5. In the shadow both score the same rows, so a row pays the difference less the margin. Latency and the business figure are not
   compared there: the shadow works in the background, and nobody acts on it.
6. The wealth goes on from step to step: a is for the whole rollout, and is split evenly over the declared tests.
7. The scores are compared as the shares above and below the champion's quartiles and the threshold, with a wide margin: another model
   should give other scores. It finds what is broken (a feature always missing), not what is better or worse.
8. What was drawn by the same key counts once, for a client that asks again stays in its arm; of rows that were scored
   together one counts for errors and latency, for they fail and wait together.
9. A row whose challenger failed counts as the challenger's, though the champion answered it.
10. A breach rolls back at once; a step with enough answers and time leads to the next; `give_up_after` ends a rollout that cannot decide.
   A call that failed is no answer: where each call holds many rows, a few that fail prove little, and must not lead on either.

What it cannot tell: harm that begins after full traffic; harm smaller than the margins, which are declared to be bearable; in the
shadow, a challenger that is worse only in passing weather counts as worse. With a cache of scores, a champion whose answers lie in it
already is faster than any challenger: declare `slow_ms` well above what a model call takes.

References: Waudby-Smith and Ramdas, [Estimating means of bounded random variables by betting](https://arxiv.org/abs/2010.09686), JRSS B 2023;
Ramdas, Grünwald, Vovk and Shafer, [Game-theoretic statistics and safe anytime-valid inference](https://arxiv.org/abs/2210.01948), 2023;
Ville, Étude critique de la notion de collectif, 1939; Lindon and Malek,
[Anytime-valid inference for multinomial count data](https://arxiv.org/abs/2011.03567), NeurIPS 2022.
"""


def picture(ends: Ends) -> Figure:
    figure = Figure(figsize=(9.6, 6.4), dpi=100, layout="constrained")
    titles = {"errors": "Failing calls", "latency": "Slow calls", "quality": "Worse Brier score", "score": "Shifted scores"}
    colours = ("#f59e0b", "#ea580c", "#dc2626", "#7f1d1d")
    for axes, (family, title) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, titles.items(), strict=True):
        _curve(axes, ends["no difference"], "no difference", "#64748b")
        named = [name for name, (kind, _) in WORLDS["Binary"].items() if kind == family]
        for name, colour in zip(named, colours, strict=False):
            _curve(axes, ends[name], name, colour)
        _dress(axes, title)
    figure.supxlabel("requests to the challenger", fontsize=10, color=INK)
    figure.supylabel("share of the rollouts rolled back", fontsize=10, color=INK)
    return figure


def _curve(axes: Axes, ends: Sequence[End], name: str, colour: str) -> None:
    to_challenger = sorted(end.to_challenger for end in ends if end.rolled_back)
    last = CANARY.shadow_rows + CANARY.step_rows * (len(CANARY.steps) - 1)
    share = np.arange(1, len(to_challenger) + 1) / len(ends)
    end = share[-1] if len(share) else 0.0
    axes.step([0, *to_challenger, last * 1.2], [0, *share, end], where="post", color=colour, linewidth=1.8, label=name)


def _dress(axes: Axes, title: str) -> None:
    begins = [CANARY.shadow_rows + CANARY.step_rows * step for step in range(len(CANARY.steps))]
    for start, share in zip([0, *begins], [*CANARY.shares], strict=True):
        axes.axvline(start, color=FAINT, linewidth=1)
        axes.text(start + 25, 1.03, _where(share) if share < 1 else "all", color=INK, fontsize=8)
    axes.set(xlim=(0, begins[-1] * 1.2), ylim=(-0.02, 1.12))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.6, alpha=0.6)
    axes.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.32))


def simulate(task: str, pool: Executor) -> tuple[Ends, list[str]]:
    """How the rollouts of each world end, and a row of the table for each."""
    ends, table = Ends(), list[str]()
    for world, (family, harm) in WORLDS[task].items():
        seeds = range(SEED * 1_000_000, SEED * 1_000_000 + HARMLESS.get(world, HARMED))
        ends[world] = list(pool.map(partial(one_end, task=task, harm=harm), seeds, chunksize=10))
        is_worse = family == "quality" or (family == "harmless" and harm != Harm())
        loss = f", loss {loss_of(LINES[task], harm):+.3f}" * is_worse
        table.append(row(world + loss, ends[world]))
        print(f"{task}: {table[-1]}", flush=True)
    return ends, table


def main() -> int:
    began = time.monotonic()
    os.environ["POLARS_MAX_THREADS"] = "1"  # of every process
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        results = {task: simulate(task, pool) for task in WORLDS}
    DOCS.joinpath("rollouts.md").write_text(page({task: table for task, (_, table) in results.items()}))
    picture(results["Binary"][0]).savefig(DOCS / "rollouts.png")
    rate = CANARY.rollback.false_alarm_rate
    counts = {
        f"{task}, {world}": [end.rolled_back for end in ends[world]] for task, (ends, _) in results.items() for world in HARMLESS
    }
    broken = [world for world, ends in counts.items() if sum(ends) > rate * len(ends)]
    print(f"{time.monotonic() - began:.0f} s; harmless ones rolled back in more than {rate:.0%}: {', '.join(broken) or 'none'}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
