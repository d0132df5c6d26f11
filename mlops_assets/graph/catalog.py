"""The feature catalogue asset: an HTML page, rebuilt daily and after each rollout step."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import asset_metadata, rows_as_table
from mlops_assets.resources import DeploymentResource, FeatureStoreResource, FolderResource, WarehouseResource
from mlops_assets.spec.use_case import UseCase

SHOWN = (
    "view",
    "name",
    "type",
    "owner",
    "used_by",
    "sources",
    "newest",
    "rows",
    "missing",
    "min",
    "median",
    "mean",
    "max",
    "distinct",
)


def build_catalog(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.stage(use_case.name, "feature_catalog"),
        deps=[
            *(names.feature(use_case.name, view.name) for view in use_case.features.views),
            names.stage(use_case.name, "rollout"),
        ],
        description="Every feature with its owner, source columns, readers, freshness and recent distribution.",
        automation_condition=dg.AutomationCondition.on_cron("@daily"),
        **asset_metadata(use_case, "feature_catalog", "feast", "polars", "html", made_from="feature"),
    )
    def feature_catalog(
        feature_store: FeatureStoreResource, warehouse: WarehouseResource, deployment: DeploymentResource, reports: FolderResource
    ) -> dg.MaterializeResult:
        from mlops_assets.features.catalogue import as_html, read_catalog

        store = feature_store.open(use_case.features.service)
        champion = deployment.open(use_case.name).champion()
        catalog = read_catalog(use_case, store=store, tables=warehouse.open(), champion=champion)
        page = reports.open() / use_case.name / "features.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(as_html(catalog))
        table = rows_as_table({name: row[name] for name in SHOWN} for row in catalog.rows())
        return dg.MaterializeResult(metadata={"summary": catalog.summary, "page": dg.MetadataValue.path(page), "catalog": table})

    return feature_catalog
