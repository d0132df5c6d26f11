"""Which runs follow from delivered files."""

import datetime as dt

from mlops_assets.backtest.ingestion import Ingestion, plan_ingestion
from mlops_assets.foundation import names
from mlops_assets.spec.grain import Daily, Hourly, Monthly, Snapshot
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW

FIRST = LOANS.first_day
DAY = dt.timedelta(days=1)


def midnight(number: int) -> dt.datetime:
    return dt.datetime.combine(FIRST + number * DAY, dt.time(), dt.UTC)


def days(*numbers: int) -> list[dt.date]:
    return [FIRST + number * DAY for number in numbers]


def keys(first: int, last: int) -> tuple[str, str]:
    return ((FIRST + first * DAY).isoformat(), (FIRST + last * DAY).isoformat())


def with_payments(**source: object) -> UseCase:
    return LOANS.but(sources=(Files(table="applications"), Files(table="payments", **source)))  # type: ignore[arg-type]


def made(runs: list[Ingestion]) -> list[tuple[str, ...]]:
    """What each run makes, without quarantine and the use case."""
    return [tuple(path[-1] for path in run.paths if "quarantine" not in path[-1]) for run in runs]


def plan(use_case: UseCase, delivered: dict[str, list[dt.date]], first: int, last: int) -> list[Ingestion]:
    after = midnight(first) if first else None
    return plan_ingestion(use_case, delivered, delivered, after=after, until=midnight(last))


ALL = ("raw_applications", "validated_applications", "raw_payments", "validated_payments", "features_last_payment",
       "online_last_payment")  # fmt: skip


def test_files_of_the_same_days_are_one_run_with_their_features() -> None:
    runs = plan(LOANS, {"applications": days(0, 1, 2), "payments": days(0, 1, 2)}, 0, 3)
    assert [run.keys for run in runs] == [keys(0, 2)]
    assert made(runs) == [ALL]
    assert names.quarantine("loans", "payments") in runs[0].paths


def test_a_missing_day_of_a_due_table_delays_only_itself() -> None:
    runs = plan(LOANS, {"applications": days(0, 1, 2), "payments": days(0, 2)}, 0, 3)
    assert {run.keys: made([run])[0] for run in runs[:1]} == {keys(0, 2): ALL[:2]}
    assert [(run.keys, made([run])[0]) for run in runs[1:3]] == [(keys(0, 0), ALL[2:4]), (keys(2, 2), ALL[2:4])]
    assert [(run.keys, made([run])[0]) for run in runs[3:]] == [(keys(0, 0), ALL[4:]), (keys(2, 2), ALL[4:])]


def test_a_table_that_lands_when_changed_joins_the_others() -> None:
    runs = plan(with_payments(only_when_changed=True), {"applications": days(0, 1, 2), "payments": days(1)}, 0, 3)
    assert [(run.keys, made([run])[0]) for run in runs] == [(keys(0, 2), ALL)]


def test_features_of_a_step_without_a_new_file_are_made_all_the_same() -> None:
    use_case = with_payments(only_when_changed=True)
    runs = plan_ingestion(use_case, {"applications": days(3)}, {"payments": days(1)}, after=midnight(3), until=midnight(4))
    assert [(run.keys, made([run])[0]) for run in runs] == [(keys(3, 3), (*ALL[:2], *ALL[4:]))]


def test_a_snapshot_is_one_run_without_partitions() -> None:
    use_case = LOANS.but(
        sources=(Files(table="applications"), Files(table="payments", grain=Snapshot())),
        contracts=(LOANS.contracts[0], PAYMENTS.but(day=None)),
    )
    runs = plan(use_case, {"applications": days(0), "payments": days(0)}, 0, 1)
    assert [(run.keys, made([run])[0]) for run in runs] == [(keys(0, 0), ALL[:2]), (None, ALL[2:4]), (None, ALL[4:])]


def test_a_daily_view_waits_for_the_month_that_it_reads() -> None:
    view = VIEW.but(tables=("payments", "applications"))
    use_case = with_payments(grain=Monthly()).but(features=LOANS.features.but(views=(view,)), last_day=dt.date(2024, 4, 8))
    march = [dt.date(2024, 3, 1)]
    early = plan_ingestion(use_case, {"applications": days(0)}, {"applications": days(0)}, after=None, until=midnight(1))
    assert made(early) == [ALL[:2]]
    landed = {"applications": days(*range(31)), "payments": march}
    late = plan_ingestion(use_case, {"payments": march}, landed, after=midnight(30), until=midnight(31))
    assert [(run.keys, made([run])[0]) for run in late] == [(("2024-03", "2024-03"), ALL[2:4]), (keys(0, 30), ALL[4:])]


def test_an_hourly_table_has_runs_of_its_own() -> None:
    use_case = with_payments(grain=Hourly()).but(
        sources=(Files(table="applications", grain=Daily()), Files(table="payments", grain=Hourly()))
    )
    hours = [midnight(0) + dt.timedelta(hours=number) for number in range(24)]
    runs = plan_ingestion(
        use_case, {"applications": days(0), "payments": hours}, {"applications": days(0), "payments": hours},
        after=None, until=midnight(1),
    )  # fmt: skip
    hourly = ("2024-03-01T00", "2024-03-01T23")
    assert [(run.keys, made([run])[0]) for run in runs] == [(keys(0, 0), ALL[:2]), (hourly, ALL[2:4]), (hourly, ALL[4:])]
