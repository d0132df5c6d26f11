"""The decisions of a backtest, each with its evidence and its causes."""

import datetime as dt
from typing import Any

from mlops_assets.backtest.record import Alarm, Gate, Replay, Step, Training
from mlops_assets.backtest.timeline import timeline
from mlops_assets.promotion.ledger_chain import Record

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
GATES = [Gate("floor_auc", False, "auc 0.5 is below 0.6.", 0.5, 0.6)]


def alarm(day: int, monitor: str = "drift") -> Alarm:
    return Alarm(START + day * DAY, monitor, "3 of 4 inputs drifted", {"columns": [{"column": "amount", "psi": 0.4}]})


def step(day: int, *alarms: Alarm, training: Training | None = None) -> Step:
    return Step(START + (day - 1) * DAY, START + day * DAY, 10, [*alarms], training)


def training(day: int, reason: str, version: int, *, blessed: bool) -> Training:
    return Training(START + day * DAY, reason, version, blessed, [] if blessed else GATES)


def record(number: int, kind: Any, day: int, version: int, **body: Any) -> Record:
    body = {"version": version, "reason": "why not", **body}
    return Record("loans", number, kind, (START + day * DAY).isoformat(), "run 1", body, "", "")


FIRST = training(0, "the first model", 1, blessed=True)


def test_an_alarm_that_lasts_is_one_decision_and_another_one_after_a_pause() -> None:
    steps = [step(1, alarm(1)), step(2, alarm(2), alarm(2, "performance")), step(3), step(4, alarm(4))]
    decisions = timeline(Replay("", FIRST, steps), [])
    assert [(one.anchor, one.title) for one in decisions if one.anchor.startswith("alarm")] == [
        ("alarm-drift-2024-03-02", "Alarm of drift"),
        ("alarm-performance-2024-03-03", "Alarm of performance"),
        ("alarm-drift-2024-03-05", "Alarm of drift"),
    ]
    assert decisions[1].reason == "3 of 4 inputs drifted. It lasts until 03 Mar, 2 times in a row."
    assert decisions[1].tables == {"columns": [{"column": "amount", "psi": 0.4}]}


def test_a_training_leads_to_its_alarm_and_has_its_gates() -> None:
    refused = training(2, "drift: 3 of 4 inputs drifted", 2, blessed=False)
    steps = [step(1, alarm(1)), step(2, alarm(2), alarm(2, "performance"), training=refused)]
    decision = timeline(Replay("", FIRST, steps), [])[-1]
    assert decision.title == "Version 2 is trained and refused"
    assert decision.causes == ["alarm-drift-2024-03-02"]
    assert decision.gates == GATES
    assert decision.reason == "Drift: 3 of 4 inputs drifted. auc 0.5 is below 0.6."


def test_every_cause_is_on_the_page_and_every_anchor_is_unique() -> None:
    again = training(2, "drift: 3 of 4 inputs drifted", 2, blessed=True)
    steps = [step(1, alarm(1)), step(2, alarm(2), training=again), step(3)]
    findings = [{"test": "quality", "breached": True, "evidence": 200.0, "needed": 100.0, "message": "worse", "rows": 3}]
    records = [
        record(1, "blessing", 0, 1),
        record(2, "promotion", 0, 1, plan={"champion": 1}),
        record(3, "plan", 2, 2, plan={"champion": 1}),
        record(4, "rollback", 3, 2, plan={"champion": 1}, evidence={"findings": findings}),
    ]
    decisions = timeline(Replay("", FIRST, steps), records)
    anchors = [one.anchor for one in decisions]
    assert len({*anchors}) == len(anchors)
    assert {cause for one in decisions for cause in one.causes} <= {*anchors}
    assert [one.title for one in decisions] == [
        "Version 1 is trained and passes its gates", "Version 1 serves", "Alarm of drift",
        "Version 2 is trained and passes its gates", "Version 2 begins its rollout", "Version 2 is rolled back",
    ]  # fmt: skip
    finding = {name: findings[0][name] for name in ("test", "breached", "evidence", "needed", "message")}
    assert decisions[-1].tables == {"tests of the rollout": [finding]}
    assert decisions[-1].causes == ["training-2024-03-03"]
