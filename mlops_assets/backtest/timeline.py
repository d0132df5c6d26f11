"""The decisions of a backtest in order: alarms, trainings and their gates, the steps of rollouts, each with its evidence."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple, cast

from mlops_assets.backtest.record import Alarm, Gate, Replay, Training
from mlops_assets.promotion.ledger_chain import Record

ALARM, SHOWN_ROWS = "Alarm of ", 12
TITLES: Mapping[str, str] = {
    "plan": "Version {version} begins its rollout",
    "step": "Version {version} advances",
    "promotion": "Version {version} serves",
    "rollback": "Version {version} is rolled back",
    "approval": "Version {version} is approved",
}
TRAINED: Mapping[str, str] = {
    "blessed": "Version {version} is trained and passes its gates",
    "refused": "Version {version} is trained and refused",
    "failed": "A training fails",
}


class Decision(NamedTuple):
    """`tone` is good, bad or plain; `anchor` is unique on the page. The rest is its evidence: gates, and tables by title."""

    at: datetime
    anchor: str
    tone: str
    title: str
    reason: str
    gates: Sequence[Gate] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = {}
    causes: Sequence[str] = ()  # the anchors of the decisions that led to it


def timeline(replay: Replay, records: Sequence[Record]) -> list[Decision]:
    """Oldest first; of one moment, alarms first, then trainings, then what the ledger recorded, in its order."""
    alarms = [*_alarms(replay)]
    trainings = [_training(one, [alarm for alarm, last in alarms if alarm.at <= one.at <= last]) for one in replay.trainings]
    trained = {one.version: decision.anchor for one, decision in zip(replay.trainings, trainings, strict=True)}
    changes = [_change(record, trained) for record in records if record.kind in TITLES]
    return sorted([*(alarm for alarm, _last in alarms), *trainings, *changes], key=lambda decision: decision.at)


def _alarms(replay: Replay) -> Iterator[tuple[Decision, datetime]]:
    """One for each unbroken series of alarms of a monitor, and the moment of its last."""
    moments = [step.end for step in replay.steps]
    for monitor, own in groupby(
        sorted(replay.alarms, key=lambda alarm: (alarm.monitor, alarm.at)), key=lambda alarm: alarm.monitor
    ):
        of_monitor = [*own]
        numbered = ((moments.index(alarm.at) - number, alarm) for number, alarm in enumerate(of_monitor))
        for _series, series in groupby(numbered, key=lambda pair: pair[0]):
            first, *later = [alarm for _number, alarm in series]
            last = later[-1].at if later else first.at
            until = f" It lasts until {last:%d %b}, {len(later) + 1} times in a row." if later else ""
            yield _alarm(first, monitor, until), last


def _alarm(first: Alarm, monitor: str, until: str) -> Decision:
    tables = {name: rows[:SHOWN_ROWS] for name, rows in first.tables.items() if rows}
    anchor = f"alarm-{monitor}-{first.at:%Y-%m-%d}"
    return Decision(first.at, anchor, "bad", f"{ALARM}{monitor}", _sentence(first.message) + until, tables=tables)


def _training(training: Training, alarms: Sequence[Decision]) -> Decision:
    """An alarm is its cause where the trigger's reason names its monitor."""
    title = TRAINED[training.outcome].format(version=training.version)
    tone = {"blessed": "good", "refused": "bad", "failed": "bad"}[training.outcome]
    causes = [alarm.anchor for alarm in alarms if f"{alarm.title.removeprefix(ALARM)}: " in training.reason]
    refused = " ".join(gate.message for gate in training.gates if not gate.passed)
    reason = " ".join(filter(None, (_sentence(training.reason), refused, training.error)))
    anchor = f"training-{training.at:%Y-%m-%d}"
    return Decision(training.at, anchor, tone, title, reason, gates=training.gates, causes=causes)


def _change(record: Record, trained: Mapping[int | None, str]) -> Decision:
    tone = {"promotion": "good", "rollback": "bad"}.get(record.kind, "plain")
    title = TITLES[record.kind].format(version=record.version)
    evidence = cast(dict[str, Any], record.body.get("evidence") or {})
    findings = cast(list[dict[str, Any]], evidence.get("findings", []))
    shown = [{name: finding.get(name) for name in ("test", "breached", "evidence", "needed", "message")} for finding in findings]
    tables = {"tests of the rollout": shown} if shown else {}
    causes = [trained[record.version]] if record.version in trained else []
    at = datetime.fromisoformat(record.at)
    return Decision(at, f"record-{record.number}", tone, title, _sentence(record.reason), tables=tables, causes=causes)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
