"""The causes of the monitors' alarms, as an asset."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.asset_metadata import asset_metadata, pictures_as_metadata, rows_as_table
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.check_verdict import Judged, check_keys, read_verdicts
from mlops_assets.graph.kernel.conditions import LOOK_BACK_CASCADE
from mlops_assets.graph.kernel.dagster_internals import newest_checks
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.monitors.estimation import read_evaluated
from mlops_assets.resources import DeploymentResource, FeatureStoreResource, LandingResource, RegistryResource, WarehouseResource
from mlops_assets.spec.monitor import JudgedByRows, OwnMonitor, Performance
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.graph.monitors.evidence import Records
    from mlops_assets.monitoring.estimation import Evaluated
    from mlops_assets.monitoring.investigation.cause import Cause
    from mlops_assets.monitoring.investigation.evidence import Alarm, Evidence

STAGE, TOP, MONITORS = "investigation", "top_cause", "monitors"


def build_investigation(use_case: UseCase) -> dg.AssetsDefinition:
    @asset(
        key=names.stage(use_case.name, STAGE),
        ins={"predictions": names.stage(use_case.name, "predictions")},
        deps=[
            names.stage(use_case.name, stage) for stage, one in use_case.monitor_stages.items() if isinstance(one, JudgedByRows)
        ],
        description="Why monitors are in alarm: what is wrong, since when, where in the graph, how sure that is, what to do.",
        automation_condition=LOOK_BACK_CASCADE,
        **asset_metadata(use_case, STAGE, "polars", "deltalake"),
    )
    def investigation(
        context: dg.AssetExecutionContext,
        predictions: LazyFrame,
        *,
        registry: RegistryResource,
        deployment: DeploymentResource,
        feature_store: FeatureStoreResource,
        landing: LandingResource,
        warehouse: WarehouseResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.graph.monitors.evidence import Champion, Records
        from mlops_assets.monitoring.investigation.investigate import NOTHING, investigate

        now, plan, instance = run_started(context), deployment.open(use_case.name).plan(), context.instance
        judged = [one for one in read_verdicts(use_case, _newest(use_case, instance), now=now) if _is_open(one)]
        if not judged:
            return dg.MaterializeResult(metadata={"verdict": NOTHING})
        champion = Champion.read(use_case, registry.open(), plan.champion) if plan else None
        records = Records(use_case, instance, landing.open(), warehouse.open(), champion)
        store = feature_store.open(use_case.features.service) if use_case.features.views else None
        evaluated = read_evaluated(use_case, registry, plan.champion) if plan else None
        evidence = _gather(judged, predictions, records, store, evaluated, now=now)
        result = investigate(evidence)
        facts = {"verdict": result.sentence, **pictures_as_metadata(_pictures(evidence, result.causes[:1]))}
        facts |= {"causes": rows_as_table(map(_row, result.causes)), TOP: result.brief}
        return dg.MaterializeResult(metadata={**facts, MONITORS: dg.MetadataValue.json([*result.monitors])})

    return investigation


def _newest(use_case: UseCase, instance: dg.DagsterInstance) -> Mapping[dg.AssetCheckKey, Any]:
    return newest_checks(instance, [*check_keys(use_case).values()])


def _is_open(one: Judged) -> bool:
    """What is wrong with a server, the data does not say."""
    has_reason = one.verdict is not None and one.verdict.verdict is not Verdict.HEALTHY
    return has_reason and isinstance(one.monitor, JudgedByRows)


def _gather(
    judged: Sequence[Judged],
    predictions: LazyFrame,
    records: "Records",
    store: "FeatureStore | None",
    evaluated: "Evaluated | None",
    *,
    now: datetime,
) -> "Evidence":
    import polars as pl

    from mlops_assets.monitoring.investigation.gather import BEFORE, Facts, gather
    from mlops_assets.monitoring.window import recent

    specs = [one.monitor for one in judged if isinstance(one.monitor, JudgedByRows)]
    spec = max(specs, key=lambda monitor: monitor.window)
    served = recent(predictions, spec, now=now)
    start = cast(datetime, served[names.EVENT_TIMESTAMP].max() if len(served) else now) - spec.window
    return gather(
        records.use_case,
        [*map(_alarm, judged)],
        served,
        reference=records.champion.sample if records.champion else pl.DataFrame(),
        tables=records.validated(),
        store=store,
        facts=Facts(
            [*records.deliveries(since=start - BEFORE, now=now)],
            [*records.refills()],
            records.relation(evaluated, start=start, now=now) if evaluated else None,
        ),
        start=start,
        now=now,
    )


def _alarm(judged: Judged) -> "Alarm":
    from mlops_assets.monitoring.investigation.evidence import Alarm

    stage, monitor, verdict = judged
    assert verdict is not None
    labelled = isinstance(monitor, Performance) or (isinstance(monitor, OwnMonitor) and monitor.READS == "outcomes")
    return Alarm(stage, verdict.verdict, verdict.message, verdict.symptoms, labelled)


def _row(cause: "Cause") -> dict[str, Any]:
    since = cause.since or "before the window"
    return {"cause": str(cause.kind), "where": cause.where, "since": since, "sure": f"{cause.sure} ({cause.confidence:.0%})",
            "evidence": cause.evidence, "remedy": cause.remedy}  # fmt: skip


def _pictures(evidence: "Evidence", causes: "Sequence[Cause]") -> dict[str, bytes]:
    """The median of an input that the cause explains, day by day, with the moment at which it began."""
    import polars as pl

    from mlops_assets.statistics import time_plots

    numbers = [name for cause in causes for name in sorted(cause.symptoms & evidence.changes.keys())]
    numbers = [name for name in numbers if evidence.served.schema[name].is_numeric()]
    if not numbers:
        return {}
    day = pl.col(names.EVENT_TIMESTAMP).dt.date().alias("day")
    days = evidence.served.group_by(day).agg(pl.col(numbers[0]).cast(pl.Float64).median()).sort("day").fill_null(float("nan"))
    values = days[numbers[0]].to_list()
    return {numbers[0]: time_plots.metric_over_time(numbers[0], days["day"].to_list(), values, since=causes[0].since)}


class TopCause(NamedTuple):
    """What the newest investigation says first, of the alarms of which monitors, and when it ended (seconds of the epoch)."""

    brief: str
    monitors: frozenset[str]
    at: float


def read_top_cause(instance: dg.DagsterInstance, use_case: str) -> TopCause:
    """Empty before the first investigation, and after one without an alarm."""
    event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(use_case, STAGE)))
    made = event.asset_materialization if event else None
    if event is None or made is None:
        return TopCause("", frozenset(), 0.0)
    metadata: dict[str, Any] = {name: entry.value for name, entry in made.metadata.items()}
    return TopCause(metadata.get(TOP, ""), frozenset(metadata.get(MONITORS, ())), event.timestamp)


def with_cause(message: str, stage: str, top: TopCause) -> str:
    """The message of a monitor, and what its alarm comes from."""
    return f"{message} {top.brief}" if stage in top.monitors else message
