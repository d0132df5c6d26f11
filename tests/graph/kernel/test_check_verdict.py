"""The verdict of a monitor survives its storage in the result of its check, and a lack of data fails it after a while."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.spec.monitor import Drift, Monitor, Performance

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = dg.AssetCheckKey(dg.AssetKey(["loans", "drift"]), Drift.CHECK)


def stored(verdict: CheckVerdict, spec: Monitor | None = None) -> dg.AssetCheckEvaluation:
    result = verdict.result(spec or Drift(), now=NOW, key=KEY)
    metadata = {
        name: dg.MetadataValue.float(value) if isinstance(value, float) else value for name, value in result.metadata.items()
    }
    return dg.AssetCheckEvaluation(
        KEY.asset_key, KEY.name, result.passed, metadata, severity=result.severity, description=result.description
    )


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("reason", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("since", [None, NOW - DAY], ids=["now", "for a day"])
def test_a_stored_verdict_is_read_back(verdict: Verdict, reason: float, since: datetime | None) -> None:
    read = CheckVerdict.of(stored(CheckVerdict(verdict, "A sentence.", reason, ("amount", "purpose"), since)))
    assert (read.verdict, read.reason_to_train, read.since, read.symptoms) == (verdict, reason, since, ("amount", "purpose"))
    assert "A sentence." in read.message


@pytest.mark.parametrize(("passed", "verdict", "reason"), [(True, Verdict.HEALTHY, 0.0), (False, Verdict.ALARM, 1.0)])
def test_a_result_without_these_entries_is_healthy_or_an_alarm(passed: bool, verdict: Verdict, reason: float) -> None:
    read = CheckVerdict.of(dg.AssetCheckEvaluation(KEY.asset_key, KEY.name, passed, {}, description="by hand"))
    assert read == (verdict, "by hand", reason, (), None)


@pytest.mark.parametrize(
    ("spec", "silence", "fails"),
    [
        (Drift(), timedelta(0), False),
        (Drift(), 90 * DAY, False),
        (Drift(), 91 * DAY, True),
        (Drift(window=DAY), 4 * DAY, True),
        (Performance(window=DAY, max_silence=10 * DAY), 9 * DAY, False),
        (Performance(window=DAY, max_silence=10 * DAY), 11 * DAY, True),
    ],
    ids=["new", "three windows", "longer", "short window", "declared", "longer than declared"],
)
def test_a_lack_of_data_fails_once_it_lasts_longer_than_declared(spec: Monitor, silence: timedelta, fails: bool) -> None:
    check = stored(CheckVerdict(Verdict.NOT_ENOUGH_DATA, "3 rows.", 0.0, since=NOW - silence), spec)
    assert check.passed is not fails and check.severity is dg.AssetCheckSeverity.WARN
    since = f"Not enough data since {NOW - silence:%Y-%m-%d %H:%M} UTC: 3 rows."
    assert check.description and check.description.startswith(since)
    assert ("That is longer than" in check.description) is fails
    assert CheckVerdict.of(check).reason_to_train == 0


@pytest.mark.parametrize("verdict", [Verdict.ALARM, Verdict.NOT_ENOUGH_DATA])
def test_only_a_healthy_verdict_expires(verdict: Verdict) -> None:
    one = CheckVerdict(verdict, "", 0.0, since=NOW)
    assert one.at(NOW + 1000 * DAY, judged_at=NOW, spec=Drift()) == one
    old = one._replace(verdict=Verdict.HEALTHY).at(NOW + 31 * DAY, judged_at=NOW, spec=Drift())
    assert old.verdict is Verdict.NOT_ENOUGH_DATA and old.since == NOW + 30 * DAY
