"""Every change of what serves, on a real ledger, real files and real keys: what it does, what it refuses, what it survives."""

import shutil
from typing import Any

import pytest
import sqlalchemy

from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import AlreadyPlaced, IllegalRoute, Plan, UnknownVersion
from mlops_assets.promotion.ledger import ConcurrentWrite
from mlops_assets.promotion.promotion_state import promotion_state_of
from mlops_assets.promotion.promotions import NotApproved
from mlops_assets.training.digest import digest
from tests.promotion.model_line import FORGERIES, Killed, ModelLine, model
from tests.serving.flights import flip_a_bit, tiny_model

# --- promoting


def test_the_first_promotion_answers_everybody_and_is_on_record(line: ModelLine):
    line.bless(1)
    plan = line.promotions.promote(1, reason="the best so far", by="ana", at=line.now(), evidence={"auc": 0.7})
    record = line.ledger.records("flight_delay")[-1]
    assert (record.kind, record.by, record.number) == ("promotion", "ana", 2)
    assert (record.body["version"], record.body["reason"], record.body["evidence"]) == (1, "the best so far", {"auc": 0.7})
    digests = {1: digest(model(1))}
    assert plan == Plan(2, 1, None, record.at, "the best so far", record=record.digest, digests=digests)
    assert plan == line.deployment.plan()
    served = line.server().lineup
    assert served and served.champion.version == 1 and served.plan == plan


def test_a_second_promotion_remembers_whom_it_replaced(line: ModelLine):
    line.bless(1, 2)
    assert line.promote(1, 2).previous == 1
    assert line.kinds() == ["blessing", "blessing", "promotion", "promotion"]


def test_promoting_the_champion_again_changes_nothing(line: ModelLine):
    line.bless(1)
    plan = line.promote(1)
    with line.unchanged():
        assert line.promote(1) == plan


def test_promoting_the_challenger_ends_its_rollout(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    line.promotions.route(challenger=2, share=0.5, **line.attribution())
    plan = line.promote(2)
    assert (plan.champion, plan.previous, plan.rollout) == (2, 1, "")
    assert line.state().challenger_version is None and line.state().shares == {}


def test_a_version_without_blessing_is_neither_promoted_nor_a_challenger(line: ModelLine):
    line.bless(1)
    line.promote(1)
    with line.unchanged(), pytest.raises(UnblessedModel, match="version 2 has no blessing in the ledger; blessed: 1"):
        line.promote(2)
    line.deployment.place(2, model(2), line.blessing(2))  # signed and placed, and not on record
    for route in ({"challenger": 2, "share": 0.1}, {"shadow": 2}):
        with line.unchanged(), pytest.raises(UnblessedModel):
            line.promotions.route(**route, **line.attribution())


# --- blessing


def test_the_same_blessing_again_changes_nothing(line: ModelLine):
    blessing = line.blessing(1)
    for _ in range(3):
        line.promotions.bless(1, model(1), blessing, by="ana", at=line.now())
    assert line.kinds() == ["blessing"]
    line.bless(1)  # signed again, on the same evidence
    assert line.kinds() == ["blessing"]


def test_the_record_of_a_blessing_says_on_what_it_stands(line: ModelLine):
    line.bless(1, evaluation_digest="f" * 64)
    body = line.ledger.records("flight_delay")[0].body
    assert body["evaluation_digest"] == "f" * 64 and body["gates"][0]["name"] == "floor_auc"
    assert body["blessing"] == line.deployment.load(1)[1]


def test_a_model_judged_again_keeps_its_place_and_has_a_second_record(line: ModelLine):
    line.bless(1)
    placed = line.deployment.load(1)
    line.bless(1, evaluation_digest="f" * 64)
    assert line.deployment.load(1) == placed and line.kinds() == ["blessing", "blessing"]
    assert line.promote(1).champion == 1


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_blessing_is_refused_on_record_and_never_serves(line: ModelLine, how: str):
    onnx, text = line.forgery(1, how)
    for _ in range(2):  # the second time adds nothing
        with pytest.raises(UnblessedModel) as error:
            line.promotions.bless(1, onnx, text, by="mallory", at=line.now())
    (record,) = line.ledger.records("flight_delay")
    assert (record.kind, record.by, record.body["reason"]) == ("refusal", "mallory", str(error.value))
    assert line.deployment.versions() == [] and line.state().waiting is None
    with line.unchanged(), pytest.raises(UnblessedModel):
        line.promote(1)


@pytest.mark.parametrize("how", FORGERIES)
def test_a_model_placed_without_a_blessing_does_not_serve_though_the_ledger_blessed_the_version(line: ModelLine, how: str):
    line.bless(1)
    line.promote(1)
    line.deployment.place(2, *line.forgery(2, how))
    if how == "other bytes":
        with line.unchanged(), pytest.raises(AlreadyPlaced, match="version 2 is placed with other bytes"):
            line.bless(2)
        return
    line.bless(2)
    with line.unchanged(), pytest.raises(UnblessedModel):
        line.promote(2)


def test_other_bytes_below_a_blessed_version_do_not_answer(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    flip_a_bit(line.folder / "models" / "2" / "model.onnx")
    with line.unchanged(), pytest.raises(UnblessedModel, match="the file is not the blessed one"):
        line.promote(2)


def test_bytes_that_a_version_cannot_have_leave_no_record(line: ModelLine):
    line.bless(1)
    other = tiny_model(bias=3)
    with line.unchanged(), pytest.raises(AlreadyPlaced):
        line.promotions.bless(1, other, line.blessing(1, model_digest=digest(other)), by="ana", at=line.now())
    assert line.promote(1).champion == 1


def test_a_process_that_died_after_placing_is_run_again(line: ModelLine):
    blessing = line.blessing(1)
    line.ledger.create()
    line.deployment.place(1, model(1), blessing)
    line.promotions.bless(1, model(1), blessing, by="ana", at=line.now())
    assert line.state().waiting == 1 and line.promote(1).champion == 1


# --- refusing


def test_a_refused_version_no_longer_waits_and_is_neither_promoted_nor_tried(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    assert line.state().waiting == 2
    line.promotions.refuse(2, reason="Its worst slice got worse.", by="ana", at=line.now())
    assert line.state().waiting is None
    with line.unchanged(), pytest.raises(UnblessedModel, match="version 2 was refused by record 4: Its worst slice got worse."):
        line.promote(2)
    with line.unchanged(), pytest.raises(UnblessedModel):
        line.promotions.route(shadow=2, **line.attribution())


def test_refusing_for_the_same_reason_again_changes_nothing(line: ModelLine):
    for _ in range(2):
        line.promotions.refuse(1, reason="It leaks.", by="ana", at=line.now())
    assert line.kinds() == ["refusal"]
    line.promotions.refuse(1, reason="It is slow.", by="ana", at=line.now())
    assert line.kinds() == ["refusal", "refusal"]


@pytest.mark.parametrize("evidence", ["e" * 64, "f" * 64], ids=["same evidence", "new evidence"])
def test_a_refusal_is_lifted_by_a_blessing_made_since(line: ModelLine, evidence: str):
    line.bless(1)
    line.promotions.refuse(1, reason="The key was missing.", by="ana", at=line.now())
    line.bless(1, evaluation_digest=evidence)
    assert line.state().waiting == 1 and line.promote(1).champion == 1


def test_a_refusal_is_not_lifted_by_a_blessing_from_before(line: ModelLine):
    line.bless(1)
    late = line.blessing(1, evaluation_digest="f" * 64)
    line.promotions.refuse(1, reason="It leaks.", by="ana", at=line.now())
    line.promotions.bless(1, model(1), late, by="mallory", at=line.now())
    line.bless(1, blessed_at=line.now().replace(year=2012), evaluation_digest="a" * 64)
    assert line.kinds() == ["blessing", "refusal"] and line.state().waiting is None


# --- approving


def test_high_risk_waits_for_an_approval(risky: ModelLine):
    risky.bless(1)
    with risky.unchanged(), pytest.raises(NotApproved, match=r"version 1 waits for an approval.*`mlops approve flight_delay 1"):
        risky.promote(1)
    risky.approve(1)
    assert risky.promote(1).champion == 1
    risky.bless(2)
    for route in ({"challenger": 2, "share": 0.1}, {"shadow": 2}):
        with risky.unchanged(), pytest.raises(NotApproved):
            risky.promotions.route(**route, **risky.attribution())


@pytest.mark.parametrize("why", ["", "  "])
def test_an_approval_without_a_reason_is_refused(risky: ModelLine, why: str):
    risky.bless(1)
    with risky.unchanged(), pytest.raises(NotApproved, match="legal: the reason for the approval"):
        risky.promotions.approve(1, why=why, by="bob", at=risky.now())


def test_an_approval_is_of_exactly_what_was_blessed(risky: ModelLine):
    with pytest.raises(UnblessedModel):
        risky.approve(1)
    risky.bless(1)
    risky.approve(1)
    approval, blessing = risky.ledger.records("flight_delay")[::-1]
    assert approval.by == "bob" and approval.body["why"] == "read its evaluation"
    for what in ("version", "model_digest", "evaluation_digest"):
        assert approval.body[what] == blessing.body[what]
    risky.bless(1, evaluation_digest="f" * 64)
    with risky.unchanged(), pytest.raises(NotApproved):
        risky.promote(1)


def test_the_same_blessing_again_leaves_an_approval_in_force(risky: ModelLine):
    risky.bless(1)
    risky.approve(1)
    risky.bless(1)
    assert risky.promote(1).champion == 1


def test_an_approval_of_one_version_is_none_of_another(risky: ModelLine):
    risky.bless(1, 2)
    risky.approve(1)
    with risky.unchanged(), pytest.raises(NotApproved):
        risky.promote(2)


# --- trying out


def test_a_rollout_begins_with_a_plan_and_goes_on_by_steps(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    plans = [
        line.promotions.route(shadow=2, **line.attribution()),
        line.promotions.route(challenger=2, share=0.05, **line.attribution()),
        line.promotions.route(challenger=2, share=0.5, split="ab", **line.attribution()),
    ]
    assert line.kinds()[-3:] == ["plan", "step", "step"]
    assert [plan.rollout for plan in plans] == ["shadow: version 2", "canary: 5% to version 2", "ab: 50% to version 2"]
    state = line.state()
    assert (state.challenger_version, min(state.shares)) == (2, plans[0].number)
    assert state.shares == dict(zip((plan.number for plan in plans), (0.0, 0.05, 0.5), strict=True))
    served = line.server().lineup
    assert served and served.champion.version == 1 and served.challenger and served.challenger.version == 2


def test_the_same_step_again_changes_nothing(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    plan = line.promotions.route(challenger=2, share=0.05, **line.attribution())
    with line.unchanged():
        assert line.promotions.route(challenger=2, share=0.05, **line.attribution()) == plan


def test_without_a_version_the_challenger_is_rolled_back(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    line.promotions.route(shadow=2, **line.attribution())
    assert line.promotions.route(**line.attribution()).rollout == ""
    assert line.kinds()[-1] == "rollback"


@pytest.mark.parametrize("split", ["canary", "ab"])
def test_without_a_version_and_without_a_challenger_nothing_changes(line: ModelLine, split: Any):
    line.bless(1)
    plan = line.promote(1)
    with line.unchanged():
        assert line.promotions.route(split=split, **line.attribution()) == plan


ILLEGAL = {
    "share above one": {"challenger": 2, "share": 1.5},
    "share below zero": {"challenger": 2, "share": -0.1},
    "no share at all": {"challenger": 2, "share": float("nan")},
    "unknown split": {"challenger": 2, "share": 0.5, "split": "coin"},
    "champion against itself": {"challenger": 1, "share": 0.5},
    "champion in its own shadow": {"shadow": 1},
    "share for nobody": {"share": 0.5},
    "share for the shadow": {"shadow": 2, "share": 0.5},
    "challenger in its own shadow": {"challenger": 2, "share": 0.5, "shadow": 2},
}


@pytest.mark.parametrize("has_challenger", [False, True], ids=["no challenger", "a challenger"])
@pytest.mark.parametrize("words", ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_arguments_leave_no_record(line: ModelLine, words: dict[str, Any], has_challenger: bool):
    line.bless(1, 2)
    line.promote(1)
    if has_challenger:
        line.promotions.route(challenger=2, share=0.25, **line.attribution())
    with line.unchanged(), pytest.raises(IllegalRoute):
        line.promotions.route(**words, **line.attribution())


def test_no_rollout_starts_without_a_champion(line: ModelLine):
    line.bless(1)
    with line.unchanged(), pytest.raises(IllegalRoute, match="no champion serves yet"):
        line.promotions.route(shadow=1, **line.attribution())


# --- going back


def test_a_rollback_ends_the_challenger_first(line: ModelLine):
    line.bless(1, 2, 3)
    line.promote(1, 2)
    line.promotions.route(challenger=3, share=0.5, **line.attribution())
    plan = line.promotions.roll_back(**line.attribution(reason="3 fails", evidence={"errors": 0.2}))
    assert (plan.champion, plan.previous, plan.rollout) == (2, 1, "")
    record = line.ledger.records("flight_delay")[-1]
    assert (record.kind, record.body["version"], record.body["evidence"]) == ("rollback", 3, {"errors": 0.2})


def test_two_rollbacks_return_to_the_first_champion_and_a_third_is_refused(line: ModelLine):
    line.bless(1, 2, 3)
    line.promote(1, 2, 3)
    assert [line.promotions.roll_back(**line.attribution()).champion for _ in range(2)] == [2, 1]
    with line.unchanged(), pytest.raises(IllegalRoute, match="no earlier champion is on record"):
        line.promotions.roll_back(**line.attribution())


def test_a_rollback_before_the_first_champion_is_refused(line: ModelLine):
    with line.unchanged(), pytest.raises(IllegalRoute):
        line.promotions.roll_back(**line.attribution())


def test_a_champion_that_is_rolled_back_stays_warm(line: ModelLine):
    line.bless(1, 2)
    line.promote(1, 2)
    assert line.promotions.roll_back(**line.attribution()).previous == 2


def test_a_version_that_was_rolled_back_waits_no_more_even_when_refused_and_blessed_again(line: ModelLine):
    line.bless(1, 2)
    line.promote(1, 2)
    line.promotions.roll_back(**line.attribution())
    line.bless(2, evaluation_digest="f" * 64)
    assert line.state().waiting is None
    line.promotions.refuse(2, reason="It was slow.", by="ana", at=line.now())
    line.bless(2, evaluation_digest="a" * 64)
    assert line.state().waiting is None
    assert line.promote(2).champion == 2  # a person may still promote it by hand


def test_a_rollback_needs_no_new_judgement_and_no_new_approval(risky: ModelLine):
    """It is the way out: a version that served well before may serve again, whatever was judged since."""
    risky.bless(1, 2)
    for version in (1, 2):
        risky.approve(version)
    risky.promote(1, 2)
    risky.bless(1, evaluation_digest="f" * 64)
    risky.promotions.refuse(1, reason="No better than 2.", by="ana", at=risky.now())
    assert risky.promotions.roll_back(**risky.attribution()).champion == 1


def test_a_rollback_needs_the_identical_bytes(line: ModelLine):
    line.bless(1, 2)
    line.promote(1, 2)
    flip_a_bit(line.folder / "models" / "1" / "model.onnx")
    with line.unchanged(), pytest.raises(UnblessedModel):
        line.promotions.roll_back(**line.attribution())


# --- others, and deaths


def test_the_later_of_two_writers_gets_the_name_of_the_first_and_has_changed_nothing(line: ModelLine):
    line.bless(1, 2, 3)
    line.promote(1)
    line.ledger.before = lambda: line.promotions.promote(3, **line.attribution(by="bob"))
    with pytest.raises(ConcurrentWrite, match=r"after record 4 came record 5 \(promotion by bob at 2013-07-01"):
        line.promote(2)
    served = line.deployment.plan()
    assert line.state().plan == served and served and served.champion == 3
    assert line.kinds()[-1] == "promotion" and len(line.kinds()) == 5


def test_a_decision_from_before_a_rollback_is_not_applied_after_it(line: ModelLine):
    """Otherwise a second rollback replaces the champion, and a late step lets the failed version serve again."""
    line.bless(1, 2, 3)
    line.promote(1, 2)
    line.promotions.route(challenger=3, share=0.05, **line.attribution())
    before = line.state()
    line.promotions.roll_back(**line.attribution(by="bob"))
    with line.unchanged():
        with pytest.raises(ConcurrentWrite, match="rollback by bob"):
            line.promotions.roll_back(**line.attribution(decided_on=before))
        with pytest.raises(ConcurrentWrite, match="rollback by bob"):
            line.promotions.route(challenger=3, share=0.25, **line.attribution(decided_on=before))
        with pytest.raises(ConcurrentWrite, match="rollback by bob"):
            line.promotions.promote(3, **line.attribution(decided_on=before))
        with pytest.raises(ConcurrentWrite, match="rollback by bob"):
            line.promotions.route(**line.attribution(decided_on=before))


def test_a_crash_between_ledger_and_servers_is_repaired_by_the_next_publication(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    server, line.deployment.dies = line.server(), True
    with pytest.raises(Killed):
        line.promote(2)
    served = line.deployment.plan()
    assert served and served.champion == 1 and line.kinds()[-1] == "promotion"
    line.deployment.publish(line.state().plan)
    server.poll()
    assert server.lineup and server.lineup.plan == line.state().plan and server.lineup.champion.version == 2


def test_a_version_whose_folder_is_gone_is_named(line: ModelLine):
    line.bless(1, 2)
    (line.folder / "models" / "2").rename(line.folder / "aside")
    with line.unchanged(), pytest.raises(UnknownVersion, match="version 2 is not placed; placed: 1"):
        line.promote(2)


def test_use_cases_do_not_see_each_other(line: ModelLine):
    root = line.folder.parents[1]
    other = ModelLine(root, name="loan_default")
    other.bless(1)
    with line.unchanged(), pytest.raises(UnblessedModel):
        line.promote(1)
    assert other.promote(1).champion == 1 and line.state().plan is None


def test_the_state_reads_new_records_only_and_all_of_them_after_a_restored_backup(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    file = line.folder.parents[1] / "ledger.db"
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, _statement: str, parameters: Any, *_more: Any) -> None:
        statements.append(str(parameters))

    line.state()
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
    line.state()
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
    assert [text for text in statements if "flight_delay" in text] == ["('flight_delay', 2)"]  # only the head, record 3
    shutil.copy(file, backup := file.with_suffix(".backup"))
    line.promote(2)
    assert line.state().champions == (1, 2)
    shutil.copy(backup, file)
    assert line.state().champions == (1,) and line.state().head == 3
    line.bless(3)
    assert line.state() == promotion_state_of("flight_delay", line.ledger.records("flight_delay"))


def test_a_message_lists_a_few_of_many_blessed_versions(line: ModelLine):
    line.bless(*range(1, 12))
    with pytest.raises(UnblessedModel, match=r"blessed: 1, 2, 3, 4, 5, 6, 7, 8 and 3 others\. `mlops train"):
        line.promote(99)
