"""One look at a rollout: what the logs tell since the last one, what follows, and doing it.

Belongs here: beginning a rollout, feeding its evidence, carrying its decision out. Not here: the tests and the decision
(statistics/), the records (promotions.py). Looking again, or two at once, changes nothing: rows count once, and of two who
decide the ledger takes one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.promotion.promotions import NotApproved, Promotions
from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState, score_edges, see_answers, see_outcomes, unit
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.rollout import AtOnce, Canary
from mlops_assets.spec.use_case import UseCase

EDGE_ROWS = 10_000  # the champion's last scores, which say where scores are compared


@dataclass(frozen=True)
class Step:
    """What one look led to. `plan` is the new one where something changed; `decision` has the tests of a rollout."""

    said: str
    plan: Plan | None = None
    decision: Decision | None = None


class _Seen(msgspec.Struct):
    """The evidence of the rollout that began with plan `began`, as it is kept between looks: how far the logs and the table
    of outcomes were read, and from where on the shadow's log is this rollout's.
    """

    began: int
    state: str
    answers: dict[str, int]
    shadows: dict[str, int]
    first_shadows: dict[str, int]
    outcomes: int = -1


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one use case; `folder` keeps their evidence."""

    promotions: Promotions
    log: PredictionLog
    shadow_log: PredictionLog
    tables: DeltaTables
    folder: Path

    @property
    def _use_case(self) -> UseCase:
        return self.promotions.use_case

    def advance(self, *, by: str, at: datetime, why: str) -> Step:
        """Begins with what waits, `why` being the reason for that, or takes the rollout under way one step on where its
        evidence says so.

        Raises ConcurrentWrite and LedgerDown as `Promotions`.
        """
        standing = self.promotions.state()
        if standing.plan:
            self.promotions.show(standing)
        rollout = self._use_case.rollout
        if isinstance(rollout, Canary) and standing.began is not None:
            try:
                return self._go_on(rollout, standing, by=by, at=at)
            except NotApproved as error:
                return Step(str(error))
            except UnblessedModel as error:
                return Step(str(error), self.promotions.roll_back(reason=str(error), by=by, at=at, decided_on=standing))
        if standing.waiting is None:
            return Step("Nothing waits for a rollout.")
        return self._begin(standing, standing.waiting, by=by, at=at, why=why)

    def _begin(self, standing: PromotionState, version: int, *, by: str, at: datetime, why: str) -> Step:
        rollout = self._use_case.rollout
        try:
            if isinstance(rollout, AtOnce) or standing.plan is None:
                first = "the first champion" if standing.plan is None else "all at once"
                plan = self.promotions.promote(version, reason=f"{why}; {first}", by=by, at=at, decided_on=standing)
            else:
                self._keep(self._nothing_seen(rollout, standing, began=standing.head + 1, at=at))
                said: dict[str, Any] = {"reason": f"{why}; a rollout begins", "by": by, "at": at, "decided_on": standing}
                plan = self._route(rollout, version, rollout.shares[0], **said)
        except NotApproved as error:
            return Step(str(error))
        except UnblessedModel as error:
            self.promotions.refuse(version, reason=str(error), by=by, at=at)
            return Step(str(error))
        return Step(f"Version {plan.champion} answers{f'; {plan.rollout}' if plan.rollout else ''}.", plan)

    def _route(self, rollout: Canary, version: int, share: float, **said: Any) -> Plan:
        whom: dict[str, Any] = {"challenger": version, "share": share, "split": rollout.split} if share else {"shadow": version}
        return self.promotions.try_out(**whom, **said)

    def _go_on(self, rollout: Canary, standing: PromotionState, *, by: str, at: datetime) -> Step:
        assert standing.began is not None and standing.trial is not None and standing.plan is not None
        state = self._see(rollout, standing, at)
        decision = decide(rollout, state, now=at)
        evidence = {"findings": [found.to_dict() for found in decision.findings], "answers": state.answers}
        # Decided on this standing and no other: a person may have gone back meanwhile, and a second time is another thing.
        said: dict[str, Any] = {"reason": decision.reason, "by": by, "at": at, "evidence": evidence, "decided_on": standing}
        match decision.kind:
            case "hold":
                return Step(decision.reason, None, decision)
            case "roll_back":
                plan = self.promotions.roll_back(**said)
            case "finish":
                plan = self.promotions.promote(standing.trial, **said)
            case "advance":
                plan = self._route(rollout, standing.trial, decision.share, **said)
        return Step(decision.reason, plan, decision)

    def _see(self, rollout: Canary, standing: PromotionState, at: datetime) -> RolloutState:
        """The evidence with all that logs and outcomes hold by now; kept for the next look."""
        assert standing.plan is not None and standing.began is not None
        seen = self._kept(rollout, standing, at)
        state = RolloutState.from_json(seen.state)
        if state.share != standing.plan.share:
            state = state.entering(standing.plan.share, datetime.fromisoformat(standing.plan.at))
        answers, seen.answers = self.log.read(seen.answers)
        shadows, seen.shadows = self.shadow_log.read(seen.shadows)
        for share, rows in self._of_rollout(rollout, standing, [answers, shadows]):
            state = see_answers(rollout, state, rows, share=share)
        for share, rows in self._of_rollout(rollout, standing, self._newly_known(seen)):
            state = see_outcomes(rollout, state, rows, share=share, label=self._use_case.label.name)
        seen.state = state.to_json()
        self._keep(seen)
        return state

    def _of_rollout(
        self, rollout: Canary, standing: PromotionState, parts: list[pl.DataFrame]
    ) -> Iterator[tuple[float, pl.DataFrame]]:
        """The rows that plans of this rollout answered, by the challenger's share in them."""
        rows = (
            pl.concat(parts, how="diagonal").with_columns(unit=unit(self._use_case, rollout.split)) if parts else pl.DataFrame()
        )
        for share in sorted({*standing.shares.values()}):
            numbers = [number for number, each in standing.shares.items() if each == share]
            if len(rows) and len(found := rows.filter(pl.col("plan").is_in(numbers))):
                yield share, found

    def _newly_known(self, seen: _Seen) -> list[pl.DataFrame]:
        """Answers and shadow's scores whose outcome is known, all of them again when any is new: a row counts once."""
        path, label = names.stage(self._use_case.name, "outcomes"), self._use_case.label.name
        if not self.tables.exists(path) or (version := self.tables.version(path)) == seen.outcomes:
            return []
        seen.outcomes = version
        known = self.tables.scan(path).filter(pl.col("plan") >= seen.began).collect()
        shadows, _positions = self.shadow_log.read(seen.first_shadows)
        return [known, shadows.join(known.select("prediction_id", label), on="prediction_id", how="inner")]

    def _nothing_seen(self, rollout: Canary, standing: PromotionState, *, began: int, at: datetime) -> _Seen:
        state = RolloutState.begin(rollout, edges=self._edges(standing), at=at)
        answers, shadows = ({each.name: each.bytes for each in log.segments()} for log in (self.log, self.shadow_log))
        return _Seen(began, state.to_json(), answers, shadows, shadows)

    def _edges(self, standing: PromotionState) -> tuple[float, ...]:
        path, champion = names.stage(self._use_case.name, "predictions"), standing.plan.champion if standing.plan else None
        scores = pl.Series("probability", [], pl.Float64())
        if self.tables.exists(path):
            answered = self.tables.scan(path).filter(pl.col("model_version") == champion)
            scores = answered.sort("answered_at").tail(EDGE_ROWS).select("probability").collect().to_series()
        return score_edges(scores, self._use_case.threshold)

    def _kept(self, rollout: Canary, standing: PromotionState, at: datetime) -> _Seen:
        """What was seen of this very rollout; evidence that is missing, unreadable or another's is gathered anew."""
        assert standing.began is not None
        try:
            seen = msgspec.json.decode(self._file.read_bytes(), type=_Seen)
            if seen.began == standing.began:
                return seen
        except (FileNotFoundError, msgspec.DecodeError):
            pass
        nothing = self._nothing_seen(rollout, standing, began=standing.began, at=at)
        return msgspec.structs.replace(nothing, answers={}, shadows={}, first_shadows={})

    def _keep(self, seen: _Seen) -> None:
        replace_file(self._file, msgspec.json.encode(seen))

    @property
    def _file(self) -> Path:
        return self.folder / self._use_case.name / "rollout.json"
