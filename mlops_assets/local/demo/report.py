"""What the demo prints about each step, read from what the platform has stored."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.terminal import as_text, table
from mlops_assets.local.demo.watching import Watcher
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase


@dataclass(frozen=True)
class Report:
    """Prints lines about one use case through `say`."""

    use_case: UseCase
    watcher: Watcher
    say: Callable[[str], None]

    def rows(self) -> None:
        kinds = (names.validated, names.quarantine)
        rows = (
            (contract.table, *(f"{self._count(name(self.use_case.name, contract.table)):,}" for name in kinds))
            for contract in self.use_case.contracts
        )
        self.say(as_text(table(("table", "accepted", "quarantined"), rows, numbers=("accepted", "quarantined"))))

    def _count(self, path: names.AssetPath) -> int:
        return self.watcher.tables.scan(path).select(pl.len()).collect().item() if self.watcher.tables.exists(path) else 0

    def evaluation(self) -> None:
        metadata = self.watcher.metadata("evaluation")
        self.say(f"  test AUC  {self.use_case.trainer.kind:<24} {metadata.get('test_auc', 'none')}")
        if reference := self.use_case.reference:
            self.say(f"            {reference.kind:<24} {metadata.get('reference_auc', 'none')}")
        for record in getattr(metadata.get("gates"), "records", metadata.get("gates", [])):
            gate = getattr(record, "data", record)
            self.say(f"    {'passed ' if gate['passed'] else 'FAILED '} {gate['message']}")
        plan = self.watcher.deployment.plan()
        rollout = f", {plan.rollout}" if plan and plan.rollout else ""
        self.say(f"  champion: version {plan.champion}{rollout} ({plan.reason})" if plan else "  champion: none")

    def live_predictions(self, live: LiveService, flights: list[dict[str, Any]]) -> None:
        self.say("  live predictions")
        for flight in flights:
            began = time.perf_counter()
            (prediction,) = live.predict([flight])
            ms = (time.perf_counter() - began) * 1000
            self.say(
                f"    {flight['carrier']}{flight['flight']} {flight['origin']}-{flight['dest']}"
                f" {flight['sched_dep']:%d %b %H:%M} UTC · late with {prediction.probability:.1%}"
                f" → {'late' if prediction.decision else 'on time'} · version {prediction.model_version}"
                f" · features {prediction.features_from} · {ms:.1f} ms"
            )

    def through_bento(self, url: str, api_key: str | None, flight: dict[str, Any]) -> None:
        """One prediction through Bento's own client, which reads the API from the service's /schema.json."""
        import bentoml

        row = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in flight.items()}
        with bentoml.SyncHTTPClient(url, token=api_key) as client:
            (answer,) = client.predict(rows=[row])["predictions"]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        number = f"{flight['carrier']}{flight['flight']}"
        self.say(f"  bentoml.SyncHTTPClient: {number} late with {answer['probability']:.1%} · version {answer['model_version']}")

    def monitors(self) -> None:
        for monitor in ("drift", "performance"):
            self.say(f"  {monitor}: {self.watcher.verdict(monitor)}")

    def trainings(self, *, after: int) -> None:
        """The platform's trainings since its first `after` ones."""
        recent = self.watcher.trainings()[after:]
        for record in recent:
            result = "blessed" if record.dagster_run.status.value == "SUCCESS" else "refused"
            self.say(f"  retrained ({result}) because of {record.dagster_run.tags.get('mlops/reason', '')}")
        if recent:
            self.evaluation()

    def months(self) -> None:
        heads = ("month", "rows", "served by", "AUC served", "AUC first model")
        self.say(as_text("", table(heads, self.watcher.months(), numbers=("rows", "AUC served", "AUC first model"))))

    def what_next(self) -> None:
        self.say("\nNext:     `make up` starts the web UI, the service and MLflow on this data and prints their addresses.")
        self.say(f"Go back:  `mlops rollback {self.use_case.name}` serves the previous champion again.")
