"""Feast's objects for the bike-demand line: one view, whose newest row holds for every request."""

from datetime import timedelta
from typing import Any

from feast import FeatureService, FeatureView, Field, FileSource, PushSource
from feast.data_format import DeltaFormat
from feast.types import Float64

from mlops_assets.foundation import names
from mlops_assets.use_cases.bike_demand import USE_CASE

OWNED: dict[str, Any] = {"owner": USE_CASE.owner, "tags": {"use_case": USE_CASE.name}}
FEATURES = {
    "demand_before_1h": "Rentals in the newest hour that has ended.",
    "demand_before_2h": "Rentals in the hour before that one.",
    "demand_same_hour_yesterday": "Rentals 24 hours before the predicted hour.",
    "demand_same_hour_last_week": "Rentals a week before the predicted hour.",
}
(declared,) = USE_CASE.features.views
recent_demand = FeatureView(
    name=declared.name,
    entities=[],
    ttl=timedelta(hours=6),
    schema=[Field(name=name, dtype=Float64, description=description) for name, description in FEATURES.items()],
    source=PushSource(
        name=f"{declared.name}_push",
        batch_source=FileSource(
            name=f"{declared.name}_table",
            path=names.feature_source(USE_CASE.name, declared.name),
            file_format=DeltaFormat(),
            timestamp_field=names.EVENT_TIMESTAMP,
            description="Delta table of recent_demand, under the offline store's root.",
            **OWNED,
        ),
        description="Fresh rows of recent_demand, before the table of their hour is filled.",
        **OWNED,
    ),
    description=declared.description,
    **OWNED,
)
service = FeatureService(
    name=USE_CASE.features.service, features=[recent_demand], description="What is known one hour before an hour begins.", **OWNED
)
