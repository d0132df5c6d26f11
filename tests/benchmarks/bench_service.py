"""This service against a hand-written FastAPI, plain @bentoml.api, `mlflow models serve` and MLServer: one model, one run.

All servers run side by side and are called in turn, over rounds of seconds; ratios compare servers of one round, and their
median is judged. The peak is that of a closed loop of 8 connections; latencies under an open loop, at half of a peak, count
from when a request was due. Then a soak of this service with features looked up. Generator and servers share the machine,
and nothing is pinned to a core.
It ends with code 1 when a bound is broken, and with 2 when none is but others kept the machine busy in most rounds: a peer
that is disturbed makes this service look good. No round is ever left out; a peer that cannot be installed is left out, with the reason.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from mlops_assets.foundation.home import Home
from mlops_assets.local.processes import running
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.benchmarks import contenders
from tests.benchmarks.bystanders import Bystanders
from tests.benchmarks.contenders import BENTO, FASTAPI, GIVEN, LOOKED_UP, Contender, Ground, NotInstalled, Question
from tests.benchmarks.flight_home import Flights, furnish
from tests.benchmarks.soak import soak
from tests.servers.redis_server import RedisServer

MIN_TO_FASTAPI, MIN_LOOKUP_TO_FASTAPI, MAX_P99_TO_FASTAPI, MIN_TO_BENTO, MAX_LOOKUP_P99_MS = 1.2, 0.9, 1.0, 5.0, 4.0
ROUNDS, SECONDS, WARM_SECONDS, SOAK_SECONDS = 5, 3.0, 1.5, 60.0
CONNECTIONS, OPEN_CONNECTIONS = 8, 64
JUDGED, MAX_OTHERS_CORES = (FASTAPI, GIVEN, LOOKED_UP, BENTO), 0.2  # alone on the machine it stays below 0.1
PEERS = (contenders.bento, contenders.mlflow, contenders.mlserver)

Found = dict[str, Any]


@dataclass(frozen=True)
class Taken:
    """One question in one round: the closed loop, the open loop at `rate` requests a second, cores used by others meanwhile."""

    peak: Found
    rate: float
    open: Found
    others: float

    @property
    def answered(self) -> int:
        return self.peak["answered"] + self.open["answered"]

    @property
    def failed(self) -> int:
        return sum(self.peak["failed"].values()) + sum(self.open["failed"].values())


@dataclass
class Report:
    """What was found: a line is printed at once, `broken` decides how the run ends."""

    broken: list[str] = field(default_factory=list[str])

    def judge(self, what: str, values: list[float], *, least: float = 0.0, most: float = math.inf, unit: str = "x") -> None:
        middle = statistics.median(values)
        held = least <= middle <= most
        bound = f"at least {least:g}" if math.isinf(most) else f"{least:g} to {most:g}" if least else f"at most {most:g}"
        spread = f", {min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""
        print(f"  {what:<58} {middle:.3f}{unit} ({bound}{unit}{spread})  {'ok' if held else 'BROKEN'}")
        if not held:
            self.broken.append(what)


# --- one server -------------------------------------------------------------------------------------------------------


def command(question: Question, seconds: float, rate: float | None = None, seed: int = 0) -> list[str]:
    arguments = [sys.executable, "-m", "tests.benchmarks.load", question.url, str(question.bodies), f"--seconds={seconds}"]
    arguments += [f"--seed={seed}", *(f"--header={header}" for header in question.headers)]
    arguments.append(f"--connections={CONNECTIONS if rate is None else OPEN_CONNECTIONS}")
    return arguments if rate is None else [*arguments, f"--rate={rate}"]


def load(question: Question, seconds: float, rate: float | None = None, seed: int = 0) -> Found:
    arguments = command(question, seconds, rate, seed)
    done = subprocess.run(arguments, cwd=contenders.PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{question.name} · the generator ended with {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def check(question: Question, expected: float) -> None:
    """Whether the answer to the first body is the model's own, and none is given without the key. Raises ValueError."""
    headers = dict(header.split(": ", 1) for header in question.headers) | {"Content-Type": "application/json"}
    body = question.bodies.read_bytes().splitlines()[0]
    answer = httpx.post(question.url, content=body, headers=headers, trust_env=False, timeout=30)
    if question.headers and httpx.post(question.url, content=body, trust_env=False, timeout=30).status_code != 401:
        raise ValueError(f"{question.name} · answers without its API key. Measure it with everything on.")
    answer.raise_for_status()
    probability = question.probability(answer.json())
    if question.name != LOOKED_UP and abs(probability - expected) > 1e-5:
        raise ValueError(
            f"{question.name} · found probability {probability}, the model says {expected}. It serves another model."
        )


def take(question: Question, rate: Callable[[str, float], float], seconds: float, seed: int) -> Taken:
    bystanders = Bystanders()
    peak = load(question, seconds, seed=seed)
    steady_rate = rate(question.name, peak["rate"])
    return Taken(peak, steady_rate, load(question, seconds, steady_rate, seed), bystanders.cores())


def take_rounds(
    entered: Sequence[Contender], expected: float, rate: Callable[[str, float], float], options: Any, only: Container[str]
) -> Iterator[dict[str, Taken]]:
    """One entry a round, of the questions in `only`. All servers run the whole time, and the order turns with each round, so
    that what disturbs the machine for seconds meets both sides of a ratio.
    """
    questions = [question for contender in entered for question in contender.questions if question.name in only]
    with running([contender.child for contender in entered]):
        for question in questions:
            check(question, expected)
            load(question, WARM_SECONDS)
        for number in range(options.rounds):
            yield {question.name: take(question, rate, options.seconds, number) for question in questions[:: (-1) ** number]}


def shared_rate(*names: str) -> Callable[[str, float], float]:
    """Half of FastAPI's first peak for these names, and half of the own peak for others."""
    first: list[float] = []

    def rate(name: str, peak: float) -> float:
        if name == FASTAPI and not first:
            first.append(peak / 2)
        return first[0] if name in names else peak / 2

    return rate


# --- all of them ------------------------------------------------------------------------------------------------------


def take_all(ground: Ground, options: Any) -> list[dict[str, Taken]]:
    """FastAPI and this service with features given get one rate."""
    entered = [contenders.fastapi(ground), contenders.service(ground), *([] if options.no_peers else present(ground))]
    names = {question.name for contender in entered for question in contender.questions}
    rounds: list[dict[str, Taken]] = []
    print("closed loop: rate, p50, p99; open loop: p50, p99, p99.9; cores that others used meanwhile")
    for taken in take_rounds(entered, ground.flights.first_probability, shared_rate(FASTAPI, GIVEN), options, names):
        rounds.append(taken)
        for name, of_question in taken.items():
            print(f"  round {len(rounds)}  {line(name, of_question)}", flush=True)
    return rounds


def present(ground: Ground) -> list[Contender]:
    entered: list[Contender] = []
    for peer in PEERS:
        try:
            entered.append(peer(ground))
        except NotInstalled as reason:
            print(f"  left out: {reason}")
    return entered


def line(name: str, taken: Taken) -> str:
    peak, steady = taken.peak, taken.open
    failed = f"  FAILED {taken.failed}" if taken.failed else ""
    return (
        f"{name:<29} {peak['rate']:7,.0f}/s {peak['p50_ms']:6.2f} {peak['p99_ms']:7.2f} ms   "
        f"open at {taken.rate:6,.0f}/s {steady['p50_ms']:6.2f} {steady['p99_ms']:7.2f} {steady['p999_ms']:7.2f} ms  others {taken.others:.1f}{failed}"
    )


def compare(rounds: list[dict[str, Taken]], report: Report) -> None:
    print("\nmedians of the rounds, and throughput to FastAPI's")
    for name in rounds[0]:
        ratios = [taken[name].peak["rate"] / taken[FASTAPI].peak["rate"] for taken in rounds]
        medians = [statistics.median(taken[name].peak[what] for taken in rounds) for what in ("rate", "p50_ms", "p99_ms")]
        steady = statistics.median(taken[name].open["p99_ms"] for taken in rounds)
        print(
            f"  {name:<29} {medians[0]:7,.0f}/s {medians[1]:6.2f} {medians[2]:7.2f} ms   open loop's p99 {steady:7.2f} ms  "
            f" {statistics.median(ratios):5.2f}x"
        )
    print("\nbounds")
    for peer, least in ((peer, least) for peer, least in ((FASTAPI, MIN_TO_FASTAPI), (BENTO, MIN_TO_BENTO)) if peer in rounds[0]):
        ratios = [taken[GIVEN].peak["rate"] / taken[peer].peak["rate"] for taken in rounds]
        report.judge(f"throughput, features given, to {peer}", ratios, least=least)
    ratios = [taken[LOOKED_UP].peak["rate"] / taken[FASTAPI].peak["rate"] for taken in rounds]
    report.judge("throughput, looked up on Redis, to FastAPI's with features given", ratios, least=MIN_LOOKUP_TO_FASTAPI)
    p99s = [taken[GIVEN].open["p99_ms"] / taken[FASTAPI].open["p99_ms"] for taken in rounds]
    report.judge("p99 at the same rate, features given, to FastAPI's", p99s, most=MAX_P99_TO_FASTAPI)
    looked_up = [taken[LOOKED_UP].open["p99_ms"] for taken in rounds]
    report.judge("p99, looked up on Redis, at half of the peak", looked_up, most=MAX_LOOKUP_P99_MS, unit=" ms")
    failed = [float(sum(taken[name].failed for taken in rounds)) for name in (GIVEN, LOOKED_UP)]
    report.judge("requests of this service that failed", [sum(failed)], most=0, unit="")


def take_other_tasks(folder: Path, redis_url: str, options: Any, report: Report) -> None:
    """FastAPI and this service with features given, on models of the other tasks."""
    for task in ("Multiclass", "Regression"):
        flights, home = Flights(task), Home(folder / task)
        (folder / f"of {task}").mkdir()
        ground = Ground(folder / f"of {task}", flights, home, redis_url, furnish(home, flights, redis_url))
        entered, rate = (contenders.fastapi(ground), contenders.service(ground)), shared_rate(FASTAPI, GIVEN)
        rounds = list(take_rounds(entered, flights.first_probability, rate, options, (FASTAPI, GIVEN)))
        peaks = [taken[GIVEN].peak["rate"] / taken[FASTAPI].peak["rate"] for taken in rounds]
        report.judge(f"{task}: throughput, features given, to {FASTAPI}", peaks, least=MIN_TO_FASTAPI)
        p99s = [taken[GIVEN].open["p99_ms"] / taken[FASTAPI].open["p99_ms"] for taken in rounds]
        report.judge(f"{task}: p99 at the same rate, to FastAPI's", p99s, most=MAX_P99_TO_FASTAPI)


def is_noisy(rounds: list[dict[str, Taken]]) -> bool:
    """Whether others kept the machine busy, during what is judged, in most rounds."""
    quiet = [all(taken[name].others <= MAX_OTHERS_CORES for name in JUDGED if name in taken) for taken in rounds]
    print(f"\n{sum(quiet)} of {len(quiet)} rounds were quiet: others used at most {MAX_OTHERS_CORES} cores during what is judged")
    return 2 * sum(quiet) <= len(quiet)


def logged(home: Home) -> int:
    """Lines of the prediction log, one an answer; those of the warm-ups count too."""
    lines = 0
    for segment in (home.prediction_log / USE_CASE.name).glob("*.jsonl"):
        with segment.open("rb") as file:
            lines += sum(1 for _ in file)
    return lines


def print_generator(ground: Ground) -> None:
    bare = contenders.bare(ground)
    with running([bare.child]):
        load(bare.questions[0], 1)
        summary = load(bare.questions[0], 2)
    print(
        f"the generator against a bare socket: {summary['rate']:,.0f}/s, p99 {summary['p99_ms']:.2f} ms; it limits nobody below that"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each loop in each round")
    parser.add_argument("--no-peers", action="store_true", help="FastAPI alone next to this service")
    parser.add_argument("--soak-seconds", type=float, default=SOAK_SECONDS, help="0: no soak")
    options = parser.parse_args()
    report, started, flights = Report(), time.monotonic(), Flights()
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder) / "redis", durable=False)
        redis.start()
        try:
            home = Home(Path(folder) / "home")
            ground = Ground(Path(folder), flights, home, redis.url, furnish(home, flights, redis.url))
            print_generator(ground)
            rounds = take_all(ground, options)
            compare(rounds, report)
            answered = sum(taken[name].answered for taken in rounds for name in (GIVEN, LOOKED_UP))
            if options.soak_seconds:
                half = statistics.median(taken[LOOKED_UP].rate for taken in rounds)
                answered += soak(
                    contenders.service(ground), lambda question: command(question, options.soak_seconds, half), report.judge
                )
            report.judge("lines of the prediction log to answers counted", [logged(home) / answered], least=1.0)
            take_other_tasks(Path(folder), redis.url, options, report)
        finally:
            redis.kill()
    noisy = is_noisy(rounds)
    load_average = ", ".join(f"{average:.1f}" for average in psutil.getloadavg())
    print(
        f"\n{time.monotonic() - started:.0f} s on {psutil.cpu_count()} cores; load of the last 1, 5 and 15 minutes: {load_average}"
    )
    doubt = " Too noisy to tell: run it again on an idle machine." if noisy else ""
    print(f"broken: {'; '.join(report.broken) or 'nothing'}.{doubt}")
    return 1 if report.broken else 2 if noisy else 0


if __name__ == "__main__":
    sys.exit(main())
