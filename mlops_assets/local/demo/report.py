"""What the demo prints about each step, from what the platform has stored."""

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.terminal import as_text, table
from mlops_assets.local.demo.watching import Say, Watcher
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase


@dataclass(frozen=True)
class Report:
    """Lines about one use case, each from what the platform has stored."""

    use_case: UseCase
    watcher: Watcher
    say: Say

    def rows(self) -> None:
        kinds = (names.validated, names.quarantine)
        rows = (
            (contract.table, *(f"{self._count(name(self.use_case.name, contract.table)):,}" for name in kinds))
            for contract in self.use_case.contracts
        )
        self.say(as_text(table(("table", "accepted", "quarantined"), rows, numbers=("accepted", "quarantined"))))

    def judgement(self) -> None:
        found = self.watcher.metadata("evaluation")
        reference = self.use_case.reference
        self.say(f"  test AUC  {self.use_case.trainer.kind:<24} {found.get('test_auc', 'none')}")
        if reference:
            self.say(f"            {reference.kind:<24} {found.get('reference_auc', 'none')}")
        for record in getattr(found.get("gates"), "records", found.get("gates", [])):
            gate = record.data if hasattr(record, "data") else record
            self.say(f"    {'passed ' if gate['passed'] else 'REFUSED'} {gate['message']}")
        plan = self.watcher.plan()
        beside = f", {plan.rollout}" if plan and plan.rollout else ""
        self.say(f"  champion: version {plan.champion}{beside} ({plan.reason})" if plan else "  champion: none")

    def timed(self, live: LiveService, row: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        answer = live.predict([row])[0]
        return {**row, **asdict(answer), "ms": (time.perf_counter() - began) * 1000}

    def through_bento(self, url: str, api_key: str | None, row: dict[str, Any]) -> None:
        """One prediction through Bento's own client, which knows the API by the service's /schema.json."""
        import bentoml

        plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
        with bentoml.SyncHTTPClient(url, token=api_key) as client:
            (answer,) = client.predict(rows=[plain])["predictions"]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        flight = f"{row['carrier']}{row['flight']}"
        self.say(f"  bentoml.SyncHTTPClient: {flight} late with {answer['probability']:.1%} · version {answer['model_version']}")

    def answers(self, answers: list[dict[str, Any]]) -> None:
        self.say("  live answers")
        for a in answers:
            said = "late" if a["decision"] else "on time"
            self.say(
                f"    {a['carrier']}{a['flight']} {a['origin']}-{a['dest']} {a['sched_dep']:%d %b %H:%M} UTC"
                f" · late with {a['probability']:.1%} → {said}"
                f" · version {a['model_version']} · features {a['features_from']} · {a['ms']:.1f} ms"
            )

    def monitors(self) -> None:
        for stage in ("drift", "performance"):
            self.say(f"  {stage}: {self.watcher.verdict(stage)}")

    def trainings(self, *, after: int) -> None:
        """What the platform has trained since its first `after` trainings."""
        fresh = self.watcher.trainings()[after:]
        for record in fresh:
            ended = "blessed" if record.dagster_run.status.value == "SUCCESS" else "refused"
            self.say(f"  retrained ({ended}) because of {record.dagster_run.tags.get('mlops/reason', '')}")
        if fresh:
            self.judgement()

    def months(self) -> None:
        heads = ("month", "rows", "served by", "AUC served", "AUC first model")
        rows = (
            (row["month"], f"{row['rows']:,}", f"version {row['versions']}", f"{row['served']:.4f}", f"{row['frozen']:.4f}")
            for row in self.watcher.months()
        )
        self.say(as_text("", table(heads, rows, numbers=("rows", "AUC served", "AUC first model"))))

    def what_next(self) -> None:
        self.say("\nOpen it: `make up` starts the web UI, the service and MLflow on this data and prints their addresses.")
        self.say(f"Go back:  `mlops rollback {self.use_case.name}` serves the previous champion again.")

    def _count(self, path: names.AssetPath) -> int:
        return self.watcher.tables.scan(path).select(pl.len()).collect().item() if self.watcher.tables.exists(path) else 0
