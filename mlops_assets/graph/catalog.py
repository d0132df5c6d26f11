"""The feature catalogue of a use case, as a page: made anew with each champion, who reads other features, and each day.

Belongs here: the one asset. Not here: what the page says (feature_catalog.py, stages/catalog.py).
"""
# Dagster takes a bare MaterializeResult only; its type argument cannot be said.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import dagster as dg

from mlops_assets import names
from mlops_assets.graph.words import rows_as_table, said_of
from mlops_assets.spec.use_case import UseCase


def build_catalog(use_case: UseCase) -> dg.AssetsDefinition:
    features = [names.feature(use_case.name, view.name) for view in use_case.features.views]

    @dg.asset(
        key=names.stage(use_case.name, "feature_catalog"),
        deps=[*features, names.stage(use_case.name, "rollout")],
        description="Which features exist, who owns them, which model reads them, how fresh they are and how distributed.",
        automation_condition=dg.AutomationCondition.on_cron("@daily"),
        required_resource_keys={"feature_store", "warehouse", "deployment", "reports"},
        **said_of(use_case, "feature_catalog", "feast", "polars", "html", made_from="feature"),
    )
    def feature_catalog(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from mlops_assets.feature_catalog import read_catalog
        from mlops_assets.stages.catalog_page import as_html

        open_ = context.resources
        store, deployment = open_.feature_store(use_case.features.service), open_.deployment(use_case.name)
        catalog = read_catalog(use_case, store=store, tables=open_.warehouse, deployment=deployment)
        page = open_.reports / use_case.name / "features.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(as_html(catalog))
        rows = catalog.rows()
        unused = sum(not row["used_by"] for row in rows)
        said = {"features": len(rows), "views": len(catalog.views), "read_by_no_model": unused}
        return dg.MaterializeResult(metadata={**said, "catalog": rows_as_table(rows), "page": dg.MetadataValue.path(page)})

    return feature_catalog
