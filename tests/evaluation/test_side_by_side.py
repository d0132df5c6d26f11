"""The side-by-side page: its facts against a loop over the rows, and HTML that is complete and escaped."""

from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from mlops_assets.evaluation.side_by_side import EXAMPLES, Change, SideBySide
from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.two_models import THRESHOLD, compare_models, flights, guesses, pictures

HOSTILE = '<script>alert("x")</script>&\'"'


def named(comparison: SideBySide) -> dict[str, Change]:
    return {change.name: change for change in comparison.groups}


def test_each_metric_has_both_values_and_the_difference() -> None:
    ours, theirs = guesses(flights(), seed=1)
    truth = flights()["late"].to_numpy()
    metrics = {change.name: change for change in compare_models().metrics}
    auc, brier = metrics["auc"], metrics["brier"]
    assert (auc.champion, auc.candidate) == pytest.approx((roc_auc_score(truth, theirs), roc_auc_score(truth, ours)))
    assert (brier.champion, brier.candidate) == pytest.approx((brier_score_loss(truth, theirs), brier_score_loss(truth, ours)))
    assert auc.difference == pytest.approx(roc_auc_score(truth, ours) - roc_auc_score(truth, theirs))
    assert brier.difference == pytest.approx(brier_score_loss(truth, theirs) - brier_score_loss(truth, ours))


def test_groups_are_better_or_worse_and_the_largest_change_comes_first() -> None:
    comparison = compare_models()
    assert {name: change.outcome for name, change in named(comparison).items()} == {
        "carrier AA": "better", "carrier B6": "worse", "carrier UA": "better", "origin EWR": "better", "origin JFK": "better",
    }  # fmt: skip
    sizes = [abs(change.difference or 0) for change in comparison.groups]
    assert sizes == sorted(sizes, reverse=True)
    ours, theirs = guesses(flights(), seed=1)
    inside = (flights()["carrier"] == "B6").to_numpy()
    truth = flights()["late"].to_numpy()[inside]
    worse = named(comparison)["carrier B6"]
    assert worse.note == f"{inside.sum():,} rows, {truth.mean():.1%} late"
    assert worse.informative == min(truth.sum(), len(truth) - truth.sum())
    assert worse.difference == pytest.approx(roc_auc_score(truth, ours[inside]) - roc_auc_score(truth, theirs[inside]))


def test_groups_without_a_difference_follow_and_small_ones_come_last() -> None:
    rows = flights().with_columns(carrier=pl.when(pl.int_range(pl.len()) < 10).then(pl.lit("ZZ")).otherwise("carrier"))
    ours, theirs = guesses(rows, seed=1)
    alike = (rows["carrier"] == "UA").to_numpy()
    comparison = compare_models(rows, both=(np.where(alike, theirs, ours), theirs))
    assert [change.outcome for change in comparison.groups][-2:] == ["no difference", "not enough data"]
    assert [change.name for change in comparison.groups][-2:] == ["carrier UA", "carrier ZZ"]


def test_groups_use_the_metric_that_must_beat_the_champion() -> None:
    by_brier = USE_CASE.but(gates=(BeatsChampion(metric="brier"),))
    assert compare_models().metric == "auc"
    assert compare_models(use_case=by_brier).metric == "brier"
    assert named(compare_models(use_case=by_brier))["carrier B6"].difference != named(compare_models())["carrier B6"].difference


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(40, 80))
def test_the_decisions_that_change_agree_with_a_walk_over_the_rows(seed: int, rows: int) -> None:
    frame = flights(rows=rows)
    ours, theirs = (np.random.default_rng([seed, stream]).random(rows).round(2) for stream in (0, 1))
    comparison = compare_models(frame, both=(ours, theirs))
    walked = {"late": [0, 0], "not late": [0, 0]}
    for truth, now, before in zip(frame["late"], ours, theirs, strict=True):
        if (now >= THRESHOLD) != (before >= THRESHOLD):
            decision = "late" if now >= THRESHOLD else "not late"
            walked[decision][0] += 1
            walked[decision][1] += int((now >= THRESHOLD) == truth)
    assert {change.decision: [change.rows, change.right] for change in comparison.changes} == walked


def test_the_examples_are_the_rows_that_moved_most_with_their_request() -> None:
    rows = flights()
    ours, theirs = guesses(rows, seed=1)
    truth = rows["late"].to_numpy()
    gain = (theirs - truth) ** 2 - (ours - truth) ** 2
    comparison = compare_models(rows)
    order = np.argsort(-gain, kind="stable")
    for examples, places in ((comparison.gained, order[:EXAMPLES]), (comparison.lost, order[::-1][:EXAMPLES])):
        assert [one["truth"] for one in examples] == ["late" if truth[place] else "not late" for place in places]
        for side, scores in (("champion", theirs), ("candidate", ours)):
            assert [one[side] for one in examples] == pytest.approx(scores[places].round(2))
    first = rows.row(int(np.argmax(gain)), named=True)
    assert comparison.gained[0]["facts"] == {
        "carrier": first["carrier"], "flight": str(first["flight"]), "tailnum": "unknown", "origin": first["origin"],
        "dest": "IAH", "sched_dep": f"{first['sched_dep']:%Y-%m-%d %H:%M}",
    }  # fmt: skip


def test_personal_data_is_left_out_of_the_examples() -> None:
    contracts = tuple(
        contract.but(columns=tuple(c.but(pii="hashed") if c.name == "tailnum" else c for c in contract.columns))
        for contract in USE_CASE.contracts
    )
    assert "tailnum" in compare_models().gained[0]["facts"]
    assert "tailnum" not in compare_models(use_case=USE_CASE.but(contracts=contracts)).gained[0]["facts"]


def test_the_verdict_is_one_sentence_and_the_details_count_groups_and_decisions() -> None:
    comparison = compare_models()
    auc = comparison.decisive
    flipped, right = sum(change.rows for change in comparison.changes), sum(change.right for change in comparison.changes)
    assert comparison.verdict == (
        f"The candidate is better: auc {auc.candidate:.3f} against {auc.champion:.3f} ({auc.difference:+.3f})."
    )
    assert comparison.details == (
        "Of 5 groups, 4 better and 1 worse (carrier B6). "
        f"{flipped} of 1,200 decisions change ({flipped / 1200:.1%}): {right} become right, {flipped - right} wrong."
    )


def test_a_candidate_that_answers_alike_is_no_better_and_changes_no_decision() -> None:
    alike = guesses(flights(), seed=1)[0]
    comparison = compare_models(both=(alike, alike))
    assert comparison.verdict.startswith("The candidate is no better: auc ")
    assert comparison.details == "Of 5 groups, 0 better and 0 worse. No decision changes."
    assert comparison.gained == comparison.lost == []
    Page(comparison.to_html({}))


def test_a_worse_candidate_is_called_so() -> None:
    ours, theirs = guesses(flights(), seed=1)
    assert compare_models(both=(theirs, ours)).verdict.startswith("The candidate is worse: auc ")


def test_rows_of_one_class_have_no_verdict() -> None:
    comparison = compare_models(flights().with_columns(late=pl.lit(0)))
    assert comparison.verdict == "auc is undefined on these rows: they have one class only."
    assert "not enough data" in Page(comparison.to_html({})).text


class Page(HTMLParser):
    """The text of a page and the tags in it; every tag that is opened is closed."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def classes(self, tag: str) -> list[str]:
        return [str(attrs.get("class", "")) for name, attrs in self.tags if name == tag]


def test_the_page_shows_everything_in_words_and_in_colour() -> None:
    comparison = compare_models()
    page = Page(comparison.to_html(pictures()))
    assert "flight_delay: candidate 8 against champion 7" in page.text
    for text in (
        comparison.verdict,
        comparison.details,
        USE_CASE.question,
        "1,200 test rows",
        "2013-04-01 to 2013-05-20",
        "carrier B6",
        "brier",
    ):
        assert text in page.text
    for flip in comparison.changes:
        assert (
            f"{flip.right:,} become right ({flip.right / flip.rows:.0%}), {flip.rows - flip.right:,} become wrong." in page.text
        )
    outcomes = [change.outcome for change in (*comparison.metrics, *comparison.groups)]
    assert [name for name in page.classes("span") if name.startswith("mark")] == [f"mark {outcome}" for outcome in outcomes]
    assert page.classes("svg") == outcomes
    assert {"better", "worse"} <= set(outcomes)
    assert "verdict better" in page.classes("section")


def test_the_page_needs_nothing_besides_itself() -> None:
    page = Page(compare_models().to_html(pictures()))
    sources = [attrs[name] or "" for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert {"script", "link"} & {tag for tag, _ in page.tags} == set()


def test_an_interval_is_drawn_on_its_own_side_of_zero() -> None:
    page = Page(compare_models().to_html({}))
    circles = [float(str(attrs["cx"])) for tag, attrs in page.tags if tag == "circle"]
    changes = [*compare_models().metrics, *compare_models().groups]
    assert [at > 75 for at in circles] == [(change.difference or 0) > 0 for change in changes]
    ends = [float(str(attrs[end])) for tag, attrs in page.tags if tag == "line" for end in ("x1", "x2")]
    assert min(ends) > 0 and max(ends) < 150


def test_values_of_rows_are_escaped() -> None:
    page = Page(compare_models(flights((HOSTILE, "UA"))).to_html({}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert HOSTILE in page.text
