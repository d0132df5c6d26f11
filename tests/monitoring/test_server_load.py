"""What servers did in a span, from samples of their counters, against a count of the single requests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.monitoring.server_load import Load
from mlops_assets.monitoring.server_samples import Sample, add_samples, read_page

START = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REACH = 2 * MINUTE


@dataclass(frozen=True)
class Process:
    """Answers a number of requests in each minute of its life, from `begins` on."""

    server: str
    begins: int
    answered: tuple[int, ...]

    def sample(self, minute: int) -> Sample:
        started = START + self.begins * MINUTE - timedelta(seconds=30)
        counted = float(sum(self.answered[: minute - self.begins + 1]))
        return Sample(START + minute * MINUTE, self.server, started.timestamp(), 100.0, {"requests_200": counted})


def processes(server: str, lives: list[list[int]]) -> list[Process]:
    """One after the other on one address: each begins when the one before was killed, just after a sample."""
    begins = [sum(map(len, lives[:number])) for number in range(len(lives))]
    return [Process(server, begin, tuple(life)) for begin, life in zip(begins, lives, strict=True)]


LIVES = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=8), min_size=1, max_size=5)


@given(LIVES, LIVES, st.integers(1, 20))
def test_a_window_counts_every_request_whatever_restarts_there_were(
    first: list[list[int]], second: list[list[int]], window: int
) -> None:
    all_of_them = [*processes("a", first), *processes("b", second)]
    samples = [one.sample(one.begins + minute) for one in all_of_them for minute in range(len(one.answered))]
    samples.sort(key=lambda sample: sample.sampled_at)
    now = max(sample.sampled_at for sample in samples)
    last = round((now - START) / MINUTE)
    requests = [(one.begins + minute, count) for one in all_of_them for minute, count in enumerate(one.answered)]
    # A sample has the requests of its own minute: those of the minutes after the one at the start of the window count.
    expected = sum(count for minute, count in requests if minute > last - window)
    load = Load.of(samples, now - window * MINUTE, now, reach=REACH)
    assert load.requests == expected


def test_requests_counted_before_the_first_sample_of_an_older_process_are_not_in_the_window() -> None:
    server = Process("a", -600, (5,) * 620)
    samples = [server.sample(minute) for minute in (8, 9, 10)]
    load = Load.of(samples, START, START + 10 * MINUTE, reach=REACH)
    assert load.requests == 2 * 5 and load.seconds == 120
    assert Load.of(samples, START + 8.5 * MINUTE, START + 10 * MINUTE, reach=REACH).requests == 2 * 5


def test_a_gap_in_the_samples_is_not_judged_as_the_window() -> None:
    """No sample for ten hours: requests counted in that time are not in the last minutes."""
    server = Process("a", 0, (5,) * 700)
    samples = [server.sample(minute) for minute in (0, 600, 601)]
    assert Load.of(samples, START + 591 * MINUTE, START + 601 * MINUTE, reach=REACH).requests == 5


def test_latency_is_summed_over_the_edges_that_all_processes_have() -> None:
    counters = [
        {"answers_within_0.01": 3.0, "answers_within_inf": 4.0},
        {"answers_within_0.01": 1.0, "answers_within_0.02": 2.0, "answers_within_inf": 2.0},
    ]
    samples = [Sample(START, "a", (START - MINUTE).timestamp() + number, 1.0, one) for number, one in enumerate(counters)]
    latency = Load.of(samples, START - 2 * MINUTE, START, reach=REACH).latency_s
    assert [*latency.edges] == [0.01, float("inf")] and [*latency.below] == [4.0, 6.0]


def test_a_process_of_several_use_cases_shares_its_cpu_time_by_the_time_of_their_answers() -> None:
    page = """
mlops_started_seconds{use_case="loans"} 1777593000.5
mlops_started_seconds{use_case="cars"} 1777593000.25
mlops_answer_seconds_sum{arm="champion",use_case="loans",version="1"} 3.0
mlops_answer_seconds_sum{arm="canary",use_case="loans",version="2"} 1.0
mlops_answer_seconds_sum{arm="champion",use_case="cars",version="1"} 12.0
process_cpu_seconds_total 8.0
process_resident_memory_bytes 3e+08
"""
    sample = read_page(page, "loans", "a", now=datetime.fromtimestamp(1777593060.5, UTC))
    assert sample and sample.process == 1777593000.5 and sample.resident_mb == 300
    load = Load.of([sample], sample.sampled_at - MINUTE, sample.sampled_at, reach=REACH)
    assert load.cpu_s == 8.0 * 4 / 16
    assert read_page(page, "flights", "a", now=START) is None


def test_samples_are_kept_as_they_are_and_deleted_when_no_window_reaches_them(tmp_path: Path) -> None:
    table = tmp_path / "loans" / "operations.delta"
    server, week = Process("a", 0, (5,) * 20_000), timedelta(days=7)
    silent = Sample(START, "b", None, None, {})
    assert add_samples(table, [server.sample(0), silent], keep=week) == [server.sample(0), silent]
    add_samples(table, [server.sample(60)], keep=week)
    assert add_samples(table, [server.sample(7 * 1440 + 30)], keep=week) == [server.sample(60), server.sample(7 * 1440 + 30)]
    assert add_samples(table, [server.sample(9 * 1440)], keep=week) == [server.sample(7 * 1440 + 30), server.sample(9 * 1440)]
    assert len(add_samples(table, [server.sample(9 * 1440 + 1)], keep=timedelta(days=365))) == 3, "older ones are deleted"
