"""Which causes are trained for: once in each state, after growing pauses, and each of them eventually."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.memory import LONGEST_PAUSE, PAUSE, Memory, Outlook, PastTraining

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOOK = timedelta(minutes=10)
SYMPTOMS = ("drift: age", "drift: amount", "performance")


def cause(*symptoms: str, healthy_at: datetime | None = None, renewed: bool = True) -> Cause:
    return Cause(frozenset(symptoms), "it drifts.", is_renewed_by_data=renewed, healthy_at=healthy_at)


def past(*symptoms: str, data: str = "a", champion: int | None = 1, at: datetime = BEGAN) -> PastTraining:
    return PastTraining(frozenset(symptoms), data, champion, at, at + TOOK, "version 2 was refused by floor_auc")


def look(*trainings: PastTraining, of: Cause, data: str = "a", champion: int = 1, cool_down: timedelta = timedelta(0),
         after: timedelta = 100 * LONGEST_PAUSE) -> Outlook:  # fmt: skip
    """Long after the last of these trainings."""
    ended = max((one.ended for one in trainings), default=BEGAN)
    return Memory(trainings, data, champion, ended).outlook(of, cool_down, ended + after)


def test_a_new_cause_is_due_at_once_and_no_cause_never() -> None:
    assert look(of=cause("drift"), after=timedelta(0)) == (True, "it drifts.", None)
    assert look(of=Cause.none("no alarm.")) == (False, "no alarm.", None)


@pytest.mark.parametrize(
    ("trained", "of", "data", "champion", "is_due"),
    [
        (past("drift"), cause("drift"), "a", 1, False),
        (past("drift"), cause("drift"), "b", 1, True),
        (past("drift"), cause("drift"), "a", 2, True),
        (past("drift"), cause("performance"), "a", 1, True),
        (past("drift: age"), cause("drift: age", "drift: amount"), "a", 1, True),
        (past("drift: age", "drift: amount"), cause("drift: age"), "a", 1, False),
        (past("schedule: Monday"), cause("schedule: Monday", renewed=False), "b", 1, False),
        (past("schedule: Monday"), cause("schedule: Tuesday", renewed=False), "a", 1, True),
    ],
    ids=["same", "newer data", "another champion", "another symptom", "one more", "one less", "schedule", "next time"],
)
def test_a_training_in_the_same_state_is_not_repeated(
    trained: PastTraining, of: Cause, data: str, champion: int, is_due: bool
) -> None:
    assert look(trained, of=of, data=data, champion=champion).is_due is is_due


def test_each_training_that_did_not_help_doubles_the_pause_up_to_a_month() -> None:
    for count, pause in ((1, PAUSE), (2, 2 * PAUSE), (3, 4 * PAUSE), (12, LONGEST_PAUSE), (400, LONGEST_PAUSE)):
        trainings = [past("drift", data=str(number), at=BEGAN + number * HOUR) for number in range(count)]
        outlook = look(*trainings, of=cause("drift"), data="new", after=pause - timedelta(seconds=1))
        assert (outlook.is_due, outlook.not_before) == (False, trainings[-1].ended + pause)
        assert look(*trainings, of=cause("drift"), data="new", after=pause).is_due


def test_one_more_symptom_waits_for_the_shortest_pause_only() -> None:
    trainings = [past("drift: age", data=str(number), at=BEGAN + number * HOUR) for number in range(9)]
    assert look(*trainings, of=cause("drift: age", "drift: amount"), after=PAUSE).is_due
    assert not look(*trainings, of=cause("drift: age"), data="new", after=PAUSE).is_due


def test_health_ends_the_count_and_the_message_has_the_count() -> None:
    trainings = [past("drift", data=str(number), at=BEGAN + number * HOUR) for number in range(3)]
    message = look(*trainings, of=cause("drift"), data="new").message
    why = "version 2 was refused by floor_auc, version 2 was refused by floor_auc and 1 other"
    assert message == f"it drifts. 3 trainings since 2026-03-01 00:00 UTC did not help: {why}."
    healthy = cause("drift", healthy_at=BEGAN + 4 * HOUR)
    assert look(*trainings, of=healthy, data="new", after=timedelta(0)) == (True, "it drifts.", None)
    assert not look(*trainings, of=cause("drift", healthy_at=BEGAN + HOUR), data="new", after=timedelta(0)).is_due


def test_a_cool_down_counts_from_the_end_of_any_training() -> None:
    assert look(past("first_model"), of=cause("drift"), cool_down=HOUR, after=HOUR / 2).not_before == BEGAN + TOOK + HOUR
    assert look(past("first_model"), of=cause("drift"), cool_down=HOUR, after=HOUR).is_due


@dataclass
class Story:
    """Hours in which a monitor alarms for changing symptoms, data arrive, and no training ever helps."""

    trainings: list[PastTraining] = field(default_factory=list[PastTraining])
    healthy_at: datetime | None = None
    data: int = 0

    def live(self, hours: list[tuple[frozenset[str], bool]]) -> None:
        for number, (symptoms, has_landed) in enumerate(hours):
            now, self.data = BEGAN + number * HOUR, self.data + has_landed
            if not symptoms:
                self.healthy_at = now
            ended = self.trainings[-1].ended if self.trainings else None
            memory = Memory(self.trainings, str(self.data), 1, ended)
            of = cause(*symptoms, healthy_at=self.healthy_at) if symptoms else Cause.none("healthy")
            if memory.outlook(of, timedelta(0), now).is_due:
                self.trainings.append(past(*symptoms, data=str(self.data), at=now))


symptoms = st.frozensets(st.sampled_from(SYMPTOMS), min_size=1)


@given(st.lists(st.tuples(st.one_of(symptoms, st.just(frozenset())), st.booleans()), max_size=200))
def test_no_state_is_trained_twice_for_the_same_symptoms_without_health_between(hours) -> None:
    story = Story()
    story.live(hours)
    alarms = [one for one, _ in hours]
    for number, training in enumerate(story.trainings):
        for earlier in story.trainings[:number]:
            first, last = ((one.began - BEGAN) // HOUR for one in (earlier, training))
            was_healthy = any(not alarm for alarm in alarms[first + 1 : last])
            assert was_healthy or training.data != earlier.data or not training.symptoms <= earlier.symptoms


@given(symptoms, st.integers(1, 3000))
def test_a_cause_that_stays_is_trained_for_again_and_again_but_ever_more_rarely(what: frozenset[str], hours: int) -> None:
    story = Story()
    story.live([(what, True)] * hours)
    assert 1 + math.log2(1 + hours) / 2 - 1 <= len(story.trainings) <= 2 + math.log2(1 + hours) + hours / 720


def test_after_a_clock_was_set_back_nothing_waits_for_a_later_training() -> None:
    trained, drift = past("drift"), cause("drift")
    assert not look(trained, of=drift, data="b", cool_down=HOUR, after=timedelta(0)).is_due
    assert look(trained, of=drift, data="b", cool_down=HOUR, after=-24 * HOUR).is_due
    assert not look(trained, of=drift, data="a", after=-24 * HOUR).is_due, "tried in the same state"
