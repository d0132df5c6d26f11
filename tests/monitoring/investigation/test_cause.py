"""Causes in order: what comes before in the graph explains what follows from it, and nothing else."""

from datetime import UTC, datetime

from mlops_assets.monitoring.investigation.cause import Cause, Kind, rank
from mlops_assets.monitoring.investigation.evidence import Alarm, Verdict
from mlops_assets.monitoring.investigation.investigate import Investigation

AT = datetime(2024, 3, 16, 18, tzinfo=UTC)


def cause(kind: Kind, confidence: float, *symptoms: str) -> Cause:
    return Cause(kind, "x", AT, confidence, "So it is.", "Repair it.", frozenset(symptoms))


def test_a_missing_file_explains_the_stale_view_and_not_the_other_input() -> None:
    file, stale, shift = (
        cause(Kind.PARTITION, 0.9, "temp"),
        cause(Kind.STALE_VIEW, 0.95, "temp"),
        cause(Kind.POPULATION, 0.6, "amount"),
    )
    assert [one.kind for one in rank([stale, shift, file])] == [Kind.PARTITION, Kind.POPULATION, Kind.STALE_VIEW]
    assert [round(one.confidence, 3) for one in rank([stale, shift, file])] == [0.9, 0.6, 0.095]


def test_half_of_the_symptoms_explain_half() -> None:
    first, second = rank([cause(Kind.SKEW, 0.8, "temp"), cause(Kind.POPULATION, 0.5, "temp", "amount")])
    assert (first.confidence, round(second.confidence, 3)) == (0.8, 0.3)


def test_a_cause_of_one_of_many_symptoms_comes_after_one_of_all() -> None:
    segment, shift = cause(Kind.SEGMENT, 0.7, "rate"), cause(Kind.POPULATION, 0.6, "temp", "dew", "rate", "rain")
    assert [one.kind for one in rank([segment, shift])] == [Kind.POPULATION, Kind.SEGMENT]


def test_a_weak_cause_is_not_claimed() -> None:
    assert Investigation(("drift",), (cause(Kind.SKEW, 0.4),)).brief.startswith("No cause stands out")
    strong = Investigation(("drift",), (cause(Kind.SKEW, 0.85),))
    assert strong.sentence == "Very likely: training/serving skew in x, since 2024-03-16 18:00 UTC. So it is. Repair it."
    assert Investigation((), ()).sentence.startswith("Nothing to investigate")


def test_a_lack_of_data_is_silence() -> None:
    assert Alarm("drift", Verdict.NOT_ENOUGH_DATA, "").is_silent and not Alarm("drift", Verdict.ALARM, "").is_silent
