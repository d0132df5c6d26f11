"""Feast's objects for the flight-delay line: its declared views, with the TTLs, types and descriptions that Feast adds."""

from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Float64, String

from mlops_assets.foundation import names
from mlops_assets.spec.feature import FeatureView as DeclaredView
from mlops_assets.use_cases.flight_delay import USE_CASE

OWNED: dict[str, Any] = {"owner": USE_CASE.owner, "tags": {"use_case": USE_CASE.name}}
ENTITIES = {
    "origin": "Airport of departure, FAA code.",
    "dest": "Airport of arrival, FAA code; with the origin it names a route.",
    "carrier": "Airline, IATA code.",
    "tailnum": "Aircraft, by its registration.",
}
FEATURES: dict[str, tuple[timedelta, dict[str, str]]] = {
    "origin_weather": (timedelta(hours=3), {
        "temp": "Temperature, degrees Fahrenheit.",
        "dewp": "Dew point, degrees Fahrenheit.",
        "humid": "Relative humidity, percent.",
        "wind_speed": "Wind speed, miles per hour.",
        "wind_gust": "Speed of gusts, miles per hour; null when none were reported.",
        "precip_3h": "Rain of the last three hours, inches.",
        "pressure": "Pressure at sea level, millibar.",
        "pressure_change_3h": "Change of pressure over three hours, millibar.",
        "visib": "Visibility, miles.",
    }),
    "origin_delays": (timedelta(hours=24), {
        "origin_late_rate_2h": "Share of late arrivals among flights landed in the last 2 hours.",
        "origin_late_rate_4h": "Share of late arrivals among flights landed in the last 4 hours.",
        "origin_late_rate_24h": "Share of late arrivals among flights landed in the last 24 hours.",
        "origin_dep_delay_2h": "Mean departure delay of flights landed in the last 2 hours, minutes.",
        "origin_dep_delay_24h": "Mean departure delay of flights landed in the last 24 hours, minutes.",
    }),
    "carrier_delays": (timedelta(hours=24), {
        "carrier_late_rate_6h": "Share of late arrivals among flights landed in the last 6 hours.",
        "carrier_late_rate_24h": "Share of late arrivals among flights landed in the last 24 hours.",
        "carrier_late_rate_7d": "Share of late arrivals among flights landed in the last 7 days.",
        "carrier_dep_delay_24h": "Mean departure delay of flights landed in the last 24 hours, minutes.",
    }),
    "route_delays": (timedelta(days=2), {
        "route_late_rate_7d": "Share of late arrivals among flights landed in the last 7 days.",
        "route_late_rate_30d": "Share of late arrivals among flights landed in the last 30 days.",
    }),
    "route_schedule": (timedelta(days=30), {"distance": "Distance between the two airports, miles."}),
    "tail_delays": (timedelta(hours=24), {"tail_last_arr_delay": "Arrival delay of the aircraft's last flight, minutes."}),
    "plane": (timedelta(0), {"seats": "Number of seats.", "built": "Year of manufacture."}),  # it does not change: never expires
}  # fmt: skip


def _view(declared: DeclaredView) -> FeatureView:
    ttl, features = FEATURES[declared.name]
    table = FileSource(
        name=f"{declared.name}_table",
        path=names.feature_source(USE_CASE.name, declared.name),
        file_format=DeltaFormat(),
        timestamp_field=names.EVENT_TIMESTAMP,
        description=f"Delta table of {declared.name}, partitioned by day, under the offline store's root.",
        **OWNED,
    )
    fresh = f"Fresh rows of {declared.name}, before the day's table is filled."
    return FeatureView(
        name=declared.name,
        entities=[entities[name] for name in declared.entity],
        ttl=ttl,
        schema=[
            *(Field(name=name, dtype=String, description=ENTITIES[name]) for name in declared.entity),
            *(Field(name=name, dtype=Float64, description=description) for name, description in features.items()),
        ],
        source=PushSource(name=f"{declared.name}_push", batch_source=table, description=fresh, **OWNED),
        description=declared.description,
        owner=USE_CASE.owner,
        tags={"use_case": USE_CASE.name, "entity": "+".join(declared.entity)},
    )


entities = {
    name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING, description=description, **OWNED)
    for name, description in ENTITIES.items()
}
views = {view.name: _view(view) for view in USE_CASE.features.views}
service = FeatureService(
    name=USE_CASE.features.service,
    features=[*views.values()],
    description="What is known about a flight two hours before its scheduled departure.",
    **OWNED,
)
globals().update(entities | views)  # Feast registers the attributes of a module, not what its containers hold
