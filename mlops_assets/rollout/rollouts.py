"""One step of a rollout: reads what the logs hold since the last step, decides, and carries the decision out."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import IllegalRoute, Plan
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.promotion_state import PromotionState, plan_of
from mlops_assets.promotion.promotions import Cause, NotApproved, PlanDisagrees, Promotions
from mlops_assets.promotion.replaced_plan import reporting_replaced
from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState, add_answers, add_outcomes, unit
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.rollout import AtOnce, Canary
from mlops_assets.tasks import task_of

EDGE_ROWS = 10_000  # the champion's last scores, whose quartiles are the edges


@dataclass(frozen=True)
class Step:
    """`plan` is the new one where something changed; `decision` has the tests of a rollout."""

    message: str
    plan: Plan | None = None
    decision: Decision | None = None


class _Progress(msgspec.Struct):
    """The stored evidence of the rollout that started with plan `began`, whose ledger record has the digest `record`: how far
    the logs and the table of outcomes (its version) were read, and where this rollout's part of the shadow log starts.
    """

    began: int
    state: str
    answers: dict[str, int]
    shadows: dict[str, int]
    first_shadows: dict[str, int]
    outcomes: int = -1
    record: str = ""


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one use case; `folder` has their evidence. Steps may overlap: a row counts once, and one decision wins."""

    promotions: Promotions
    log: PredictionLog
    shadow_log: PredictionLog
    tables: DeltaTables
    folder: Path

    def advance(self, *, by: str, at: datetime, why: str) -> Step:
        """Starts the rollout of the waiting version, for the reason `why`, or takes the one in progress a step further where
        its evidence allows it. A route by hand is left alone; during a pause a rollout may be rolled back, and nothing else.
        Raises ConcurrentWrite and LedgerDown as `Promotions`.
        """
        replaced = list[str]()
        with reporting_replaced(self.promotions, replaced.append):
            step = self._advance(by=by, at=at, why=why)
        return replace(step, message=" ".join([step.message, *replaced]))

    def _advance(self, *, by: str, at: datetime, why: str) -> Step:
        state, rollout = self.promotions.state(), self.promotions.use_case.rollout
        in_progress = rollout if isinstance(rollout, Canary) and state.shares else None
        try:
            self.promotions.ledger.require_whole(self.promotions.use_case.name)
            if state.plan:
                self.promotions.publish(state.plan)
            if in_progress and not state.by_hand:
                return self._continue(in_progress, state, by=by, at=at)
            if reason := self._why_left_alone(state, at):
                return Step(reason)
            assert state.waiting is not None
            plan = self._start(state, state.waiting, by=by, at=at, why=why)
            return Step(f"Version {plan.champion} serves{f'; {plan.rollout}' if plan.rollout else ''}.", plan)
        except (NotApproved, PlanDisagrees, DamagedLedger) as error:
            return Step(str(error))
        except UnblessedModel as error:
            if in_progress:
                return Step(str(error), self.promotions.roll_back(reason=str(error), by=by, at=at, decided_on=state))
            assert state.waiting is not None
            self.promotions.refuse(state.waiting, reason=str(error), by=by, at=at)
            return Step(str(error))

    def hand_over(self, *, by: str, at: datetime, why: str) -> Plan:
        """Starts the declared rollout of the version that runs by hand, or lets rollouts and triggers go on after a rollback by
        hand. Raises IllegalRoute where there is neither.
        """
        why = f"handed over: {why}"
        state = self.promotions.state()
        if state.plan and not (state.by_hand and state.challenger_version is not None):
            self.promotions.hand_over(reason=why, by=by, at=at)
            return state.plan
        if state.challenger_version is None:
            first = self.promotions.describe_first(state)
            raise IllegalRoute(f"{self.promotions.use_case.name} · no champion serves yet. {first}.")
        return self._start(state, state.challenger_version, by=by, at=at, why=why)

    def _why_left_alone(self, state: PromotionState, at: datetime) -> str:
        """Why no rollout starts; empty where one does."""
        if state.by_hand:
            assert state.plan is not None
            command, since = f"mlops route {self.promotions.use_case.name}", f"{state.plan.at} ({state.plan.reason})"
            how = f"until `{command} --hand-over` hands it over; `{command}` ends it"
            return f"{state.plan.rollout}, by hand since {since}: the declared rollout leaves it alone {how}."
        return "No version waits for a rollout." if state.waiting is None else state.held_up(at)

    def _start(self, state: PromotionState, version: int, *, by: str, at: datetime, why: str) -> Plan:
        rollout, why = self.promotions.use_case.rollout, why.rstrip(".")  # a sentence, to which the next step is added
        if isinstance(rollout, AtOnce) or state.plan is None:
            reason = f"{why}; {'the first champion' if state.plan is None else 'all at once'}"
            return self.promotions.promote(version, reason=reason, by=by, at=at, decided_on=state)
        answers, shadows, nothing = self.log.segments(), self.shadow_log.segments(), self._no_evidence(rollout, state, at)
        cause = Cause(reason=f"{why}; a rollout begins", by=by, at=at, decided_on=state)
        plan = self._route(rollout, version, rollout.shares[0], cause)
        self._store(_Progress(plan.number, nothing, answers, shadows, shadows, record=plan.record))
        return plan

    def _route(self, rollout: Canary, version: int, share: float, cause: Cause) -> Plan:
        if not share:
            return self.promotions.route(shadow=version, by_hand=False, **cause)
        return self.promotions.route(challenger=version, share=share, split=rollout.split, by_hand=False, **cause)

    def _continue(self, rollout: Canary, state: PromotionState, *, by: str, at: datetime) -> Step:
        assert state.challenger_version is not None
        gathered = self._gather(rollout, state, at)
        decision = decide(rollout, gathered, task=task_of(self.promotions.use_case.task), now=at)
        if decision.kind == "hold":
            return Step(decision.reason, None, decision)
        if decision.kind != "roll_back" and (pause := state.pause_at(at)):
            return Step(f"{decision.reason} {pause}", None, decision)
        evidence = {"findings": [vars(finding) for finding in decision.findings], "answers": gathered.answers}
        # A person may have rolled back meanwhile: a second rollback would then hit the champion, so the state must be this one.
        cause = Cause(reason=decision.reason, by=by, at=at, evidence=evidence, decided_on=state)
        match decision.kind:
            case "roll_back":
                plan = self.promotions.roll_back(**cause)
            case "finish":
                plan = self.promotions.promote(state.challenger_version, **cause)
            case "advance":
                plan = self._route(rollout, state.challenger_version, decision.share, cause)
        return Step(decision.reason, plan, decision)

    def _gather(self, rollout: Canary, promotion: PromotionState, at: datetime) -> RolloutState:
        """The evidence in all logs and outcomes up to now; stored for the next step."""
        assert promotion.plan is not None
        plans, task = self._plans(promotion), task_of(self.promotions.use_case.task)
        progress = self._stored(rollout, promotion, plans[0])
        state = RolloutState.from_json(progress.state)
        if state.share != promotion.plan.share:
            state = state.entering(promotion.plan.share, datetime.fromisoformat(promotion.plan.at))
        state = state.not_after(at)
        answers, progress.answers = self.log.read(progress.answers)
        shadows, progress.shadows = self.shadow_log.read(progress.shadows)
        for share, rows in self._by_share(rollout, plans, [answers, shadows], since=state.stepped):
            state = add_answers(rollout, state, rows, task=task, share=share)
        for share, rows in self._by_share(rollout, plans, self._new_outcomes(progress), since=state.stepped):
            state = add_outcomes(rollout, state, rows, task=task, share=share, label=self.promotions.use_case.label.name)
        progress.state = state.to_json()
        self._store(progress)
        return state

    def _plans(self, promotion: PromotionState) -> list[Plan]:
        """Those of this rollout, oldest first."""
        records = self.promotions.ledger.records(self.promotions.use_case.name, after=min(promotion.shares) - 1)
        return [plan_of(record, promotion.blessings) for record in records if record.number in promotion.shares]

    def _by_share(
        self, canary: Canary, plans: list[Plan], parts: list[pl.DataFrame], *, since: datetime
    ) -> Iterator[tuple[float, pl.DataFrame]]:
        """The rows that `plans` served, by the challenger's share in them; the newest plan began at `since`."""
        if not any(map(len, parts)):
            return
        rows = pl.concat(parts, how="diagonal_relaxed").with_columns(unit=unit(self.promotions.use_case, canary.split))
        for share in sorted({plan.share for plan in plans}):
            is_served = [_is_served_by(plan, since) for plan in plans if plan.share == share]
            if len(served := rows.filter(pl.any_horizontal(is_served))):
                yield share, served

    def _new_outcomes(self, progress: _Progress) -> list[pl.DataFrame]:
        """Answers and shadow scores with a known outcome: all of them when any is new, as a row counts once."""
        path, label = names.stage(self.promotions.use_case.name, "outcomes"), self.promotions.use_case.label.name
        if not self.tables.exists(path) or (version := self.tables.version(path)) == progress.outcomes:
            return []
        progress.outcomes = version
        known = self.tables.scan(path).filter(pl.col("plan") >= progress.began).collect()
        shadows, _positions = self.shadow_log.read(progress.first_shadows)
        return [known, shadows.join(known.select("prediction_id", label), on="prediction_id", how="inner")]

    def _no_evidence(self, rollout: Canary, promotion: PromotionState, at: datetime) -> str:
        use_case, champion = self.promotions.use_case, promotion.digest_of(promotion.plan.champion) if promotion.plan else None
        path, task = names.stage(use_case.name, "predictions"), task_of(use_case.task)
        served = pl.DataFrame(schema=dict(task.COLUMNS))
        if self.tables.exists(path):
            rows = self.tables.scan(path).filter(pl.col("model_digest") == champion)
            served = rows.sort("answered_at").tail(EDGE_ROWS).select(task.SCORES).collect()
        edges = task.edges(task.logged(served))
        return RolloutState.begin(rollout, edges=edges, claims=len(task.claims(served, edges)), at=at).to_json()

    def _stored(self, rollout: Canary, promotion: PromotionState, first: Plan) -> _Progress:
        """The stored evidence of the rollout that `first` started; where there is none, all logs are read again."""
        with suppress(FileNotFoundError, msgspec.DecodeError):
            progress = msgspec.json.decode(self._file.read_bytes(), type=_Progress)
            if progress.record == first.record:
                return progress
        nothing = self._no_evidence(rollout, promotion, datetime.fromisoformat(first.at))
        return _Progress(first.number, nothing, {}, {}, {}, record=first.record)

    def _store(self, progress: _Progress) -> None:
        replace_file(self._file, msgspec.json.encode(progress))

    @property
    def _file(self) -> Path:
        return self.folder / self.promotions.use_case.name / "rollout.json"


def _is_served_by(plan: Plan, newest: datetime) -> pl.Expr:
    """Whether a logged row is of this plan. A ledger that was restored from a backup uses numbers again: the models and the
    moment must be the plan's, too. A row that the challenger failed names the champion's model alone. A plan that began later
    than the newest one did so by a clock that was set back since.
    """
    began = min(newest, datetime.fromisoformat(plan.at))
    versions = {"champion": plan.champion, "challenger": plan.challenger, "shadow": plan.shadow}
    digests = {arm: plan.digests.get(version) for arm, version in versions.items() if version is not None}
    is_of_its_model = pl.col("model_digest") == pl.col("arm").replace_strict(digests, default=None, return_dtype=pl.String())
    return (pl.col("plan") == plan.number) & (pl.col("answered_at") >= began) & is_of_its_model
