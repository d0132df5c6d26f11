"""Fills the online store again after it was emptied, as by a restart of a Redis that keeps nothing on a disk."""

from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.resources import FeatureStoreResource
from mlops_assets.spec.use_case import UseCase

FILLED = "filled"  # the cursor, from when all views were there until a run was requested: one loss, one run


def build_refill(use_case: UseCase) -> dict[str, list[Any]]:
    """Job and sensor, as keyword arguments of Definitions; none without feature views."""
    views = [view.name for view in use_case.features.views]
    if not views:
        return {"jobs": [], "sensors": []}
    job = dg.define_asset_job(
        names.job(use_case.name, "refill_online"),
        selection=dg.AssetSelection.assets(*(names.online(use_case.name, view) for view in views)),
        description="Write the newest values of every feature view into an online store that was emptied.",
    )

    @shared_sensor(
        use_case,
        "refill_online",
        job=job,
        by_event=True,
        description="Requests a run that fills the online store again where it was emptied.",
    )
    def refill(context: dg.SensorEvaluationContext, feature_store: FeatureStoreResource) -> dg.RunRequest | dg.SkipReason:
        from mlops_assets.features.online.key_value_stores import OnlineStoreDown

        try:
            is_filled = feature_store.is_filled([names.in_feast(use_case.name, view) for view in views])
        except OnlineStoreDown as error:
            return dg.SkipReason(str(error))
        if is_filled == (context.cursor == FILLED):
            return dg.SkipReason("Every feature view is online." if is_filled else "No run has filled the online store yet.")
        context.update_cursor(FILLED if is_filled else "emptied")
        return dg.SkipReason("Every feature view is online.") if is_filled else dg.RunRequest()

    return {"jobs": [job], "sensors": [refill]}
