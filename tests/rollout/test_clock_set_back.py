"""A rollout that began a day ahead, by a clock that was set back since: it neither ends early nor waits for that day."""

from datetime import datetime, timedelta
from pathlib import Path

from mlops_assets.promotion.promotions import Promotions
from mlops_assets.rollout.rollouts import Rollouts, Step
from mlops_assets.spec.rollout import Canary
from mlops_assets.training.digest import digest
from tests.promotion.model_line import model
from tests.rollout.test_rollout_races import Line

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SLOW = Canary(shadow_rows=3, steps=(0.5, 1.0), step_rows=1, step_for=HOUR, give_up_after=2 * DAY)


def look(line: Line, at: datetime) -> Step:
    return line.rollouts.advance(by="the sensor", at=at, why="a test")


def slow_line(root: Path) -> tuple[Line, datetime]:
    """Version 4 is in the shadow since the second moment."""
    line = Line(root)
    line.promotions.roll_back(**line.attribution())
    use_case = line.use_case.model_copy(update={"rollout": SLOW})
    line.promotions = Promotions(use_case, line.ledger, line.deployment, line.keys)
    line.rollouts = Rollouts(line.promotions, line.log, line.shadow_log, line.rollouts.tables, line.rollouts.folder)
    line.bless(4)
    began = line.now() + DAY
    assert look(line, began).plan
    return line, began


def score(line: Line, number: int, at: datetime) -> None:
    plan = line.state().plan
    assert plan and plan.shadow
    row = dict.fromkeys(line.shadow_log.schema) | {"prediction_id": f"p{number}", "answered_at": at, "event_timestamp": at}
    row |= {"plan": plan.number, "arm": "shadow", "model_version": plan.shadow, "model_digest": digest(model(plan.shadow))}
    row |= {"probability": 0.3, "champion_probability": 0.3, "decision": False, "challenger_failed": False}
    columns = line.use_case.contract(line.use_case.features.request_table)
    row |= {name: number for name in line.use_case.features.request if columns.column(name).dtype == "int"}
    line.shadow_log.append([row | {"call": number, "model_ms": 2.0}])
    line.shadow_log.flush()


def test_a_step_takes_as_long_as_declared_and_counts_the_answers_since_it_began(tmp_path: Path) -> None:
    line, began = slow_line(tmp_path)
    now = began - DAY
    waits = look(line, now)
    assert waits.decision and waits.decision.kind == "hold"
    assert waits.message == "Waiting in the shadow for 3 more answers of the challenger and 1:00:00 to pass."
    for number in range(3):
        score(line, number, now + timedelta(minutes=number + 1))
    assert look(line, now + HOUR / 2).message == "Waiting in the shadow for 0:30:00 to pass."
    done = look(line, now + HOUR)
    assert done.decision and done.decision.kind == "advance" and done.plan and done.plan.share == 0.5
    assert line.ledger.verify(line.use_case.name) == [], "whatever the order of their times, records are a chain"


def test_a_rollout_is_given_up_no_earlier_than_declared(tmp_path: Path) -> None:
    line, began = slow_line(tmp_path)
    now = began - DAY
    for passed, kind in ((timedelta(0), "hold"), (DAY, "hold"), (2 * DAY - HOUR, "hold"), (2 * DAY, "roll_back")):
        decision = look(line, now + passed).decision
        assert decision and decision.kind == kind
