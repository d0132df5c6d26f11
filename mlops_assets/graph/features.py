"""From validated tables to feature tables and the online store, two assets per feature view, and the feature catalogue."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from collections.abc import Mapping
from typing import cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import declared_partitions, table_calendar, view_calendar
from mlops_assets.graph.kernel.asset_metadata import (
    asset_metadata,
    count_by_partition,
    feature_columns,
    freshness,
    rows_as_table,
    same_columns,
)
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.conditions import CASCADE, DAILY, LOOK_BACK_CASCADE, MADE
from mlops_assets.graph.kernel.dagster_internals import At, newest_events
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.tables import (
    ONE_RUN,
    PARTITION_COLUMN,
    DataFrame,
    LazyFrame,
    looking_back,
    partitions_in_run,
    partitions_of,
)
from mlops_assets.resources import (
    DeploymentResource,
    FeatureStoreResource,
    LandingResource,
    RegistryResource,
    ReportsResource,
    WarehouseResource,
)  # fmt: skip
from mlops_assets.spec.code_version import feature_code
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

LAST_EVENT = "last_event"  # metadata of an online asset: the newest event of its feature table that it has read
CATALOG_COLUMNS = ("view", "name", "type", "used_by", "sources", "newest", "rows", "missing", "min", "median", "max")


def build_features(use_case: UseCase) -> list[dg.AssetsDefinition]:
    views = use_case.features.views
    return [*(build(use_case, view) for view in views for build in (_feature, _online)), *([_catalog(use_case)] if views else [])]


def _feature(use_case: UseCase, view: FeatureView) -> dg.AssetsDefinition:
    calendar = view_calendar(use_case, view)

    @asset(
        key=names.feature(use_case.name, view.name),
        ins={table: _rows(use_case, view, table) for table in view.tables},
        description=view.description,
        # The day of a feature is that of its moment in UTC.
        metadata={PARTITION_COLUMN: calendar.column if calendar.has_whole_days else names.EVENT_TIMESTAMP},
        partitions_def=partitions_of(use_case, calendar),
        backfill_policy=ONE_RUN,
        automation_condition=CASCADE,
        freshness_policy=freshness(use_case.freshness.features, calendar) if use_case.is_due(*view.tables) else None,
        io_manager_key="tables",
        **asset_metadata(use_case, "feature", "polars", "feast", "deltalake", code=feature_code(view), tables=view.tables),
    )
    def feature(context: dg.AssetExecutionContext, landing: LandingResource, **tables: LazyFrame) -> DataFrame:
        from mlops_assets.features.featurize import fill_partitions
        from mlops_assets.features.gaps import accepted_gaps

        partitions = partitions_in_run(context, calendar)
        rows = fill_partitions(use_case, view, tables, first=partitions[0], last=partitions[-1])
        count_by_partition(context, calendar, rows, moments=names.EVENT_TIMESTAMP)
        context.add_output_metadata(feature_columns(use_case, view, rows))
        if gaps := accepted_gaps(use_case, view, landing.open(), first=partitions[0], last=partitions[-1]):
            context.add_output_metadata({"accepted_gaps": ", ".join(gaps)})
        return rows

    return feature


def _rows(use_case: UseCase, view: FeatureView, table: str) -> dg.AssetDep:
    read = looking_back(view.lookback, view_calendar(use_case, view), table_calendar(use_case, table))
    return dg.AssetDep(names.validated(use_case.name, table), partition_mapping=read)


def _online(use_case: UseCase, view: FeatureView) -> dg.AssetsDefinition:
    feature, calendar = names.feature(use_case.name, view.name), view_calendar(use_case, view)

    # Without partitions, as only the newest values count: Dagster's SQLite storage takes 3 ms per materialized partition. Its
    # planned events stay one per partition of the run, whatever the asset, which costs less than a run of its own (15 s).
    @asset(
        key=names.online(use_case.name, view.name),
        deps=[feature],
        description=f"The newest values, where the service reads them: {view.description}",
        automation_condition=LOOK_BACK_CASCADE,
        freshness_policy=freshness(use_case.freshness.features, calendar) if use_case.is_due(*view.tables) else None,
        **asset_metadata(use_case, "online", "feast", code=feature_code(view), tables=view.tables),
    )
    def online(context: dg.AssetExecutionContext, feature_store: FeatureStoreResource) -> dg.MaterializeResult:
        from mlops_assets.features.lineage import view_columns_read

        # Read before the table: a partition that is written meanwhile has a newer event and goes online next time.
        events = newest_events(context.instance, dg.AssetKey(feature), MADE, partitioned=bool(calendar.cron))
        changed = calendar.in_run(keys_to_write(context.instance, context.asset_key, events))
        start = calendar.start(changed[0] if changed else declared_partitions(use_case, calendar)[0])
        written = feature_store.open(use_case.features.service).materialize(view.name, start)
        state = {"entities_written": written, LAST_EVENT: max(events.values(), default=0)}
        return dg.MaterializeResult(metadata=state | same_columns(feature, view_columns_read(use_case, view)))

    return online


def _catalog(use_case: UseCase) -> dg.AssetsDefinition:
    views = [names.feature(use_case.name, view.name) for view in use_case.features.views]

    @asset(
        key=names.stage(use_case.name, "feature_catalog"),
        deps=[*views, names.stage(use_case.name, "rollout")],
        description="Every feature with its owner, source columns, readers, freshness and recent distribution.",
        automation_condition=DAILY,
        **asset_metadata(use_case, "feature_catalog", "feast", "polars", "html"),
    )
    def feature_catalog(
        *,
        feature_store: FeatureStoreResource,
        warehouse: WarehouseResource,
        deployment: DeploymentResource,
        registry: RegistryResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.features.catalogue import as_html, read_catalog

        store = feature_store.open(use_case.features.service)
        champion = deployment.open(use_case.name).champion()
        catalog = read_catalog(use_case, store=store, tables=warehouse.open(), champion=champion)
        file, html = reports.open() / use_case.name / "features.html", as_html(catalog)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html)
        links = publish(registry, use_case, champion[0], {file.name: html}) if champion else {}
        table = rows_as_table({name: row[name] for name in CATALOG_COLUMNS} for row in catalog.rows())
        page = links.get("features", dg.MetadataValue.path(file))
        return dg.MaterializeResult(metadata={"summary": catalog.summary, "page": page, "catalog": table})

    return feature_catalog


def keys_to_write(instance: dg.DagsterInstance, online: dg.AssetKey, events: Mapping[At, int]) -> list[str]:
    """The partitions of the feature table that have changed since the last materialization; every one where none has."""
    last = instance.get_latest_materialization_event(online)
    read_until = last.asset_materialization.metadata.get(LAST_EVENT) if last and last.asset_materialization else None
    new = [key for key, event in events.items() if read_until is None or event > cast(int, read_until.value)]
    return [key for key in new or events if key]
