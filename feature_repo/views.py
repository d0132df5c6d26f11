"""The feature views of the flight-delay line: what is known about an airport, airline, route and aircraft, and for how long.

Belongs here: entities, time to live, typed schema and source of each view. Not here: how the values are computed
(mlops_assets/use_cases/flight_delay/transforms.py) and where the tables lie (the offline store's root).
"""

from datetime import timedelta

from entities import OWNER, TAGS, carrier, dest, origin, tailnum
from feast import Entity, FeatureView, Field, FileSource, PushSource
from feast.data_format import DeltaFormat
from feast.types import Float64, String

from mlops_assets.foundation import names


def _view(name: str, *, entities: list[Entity], ttl: timedelta, description: str, features: dict[str, str]) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=String, description=entity.description) for entity in entities]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=keys + [Field(name=feature, dtype=Float64, description=said) for feature, said in features.items()],
        source=PushSource(
            name=f"{name}_push",
            batch_source=FileSource(
                name=f"{name}_table",
                path=names.feature_source("flight_delay", name),
                file_format=DeltaFormat(),
                timestamp_field="event_timestamp",
                description=f"Delta table of {name}, partitioned by day, below the offline store's root.",
                owner=OWNER,
                tags=TAGS,
            ),
            description=f"Fresh rows of {name}, before the day's table is filled.",
            owner=OWNER,
            tags=TAGS,
        ),
        online=True,
        description=description,
        owner=OWNER,
        tags={**TAGS, "entity": "+".join(entity.name for entity in entities)},
    )


origin_weather = _view(
    "origin_weather",
    entities=[origin],
    ttl=timedelta(hours=3),
    description="Weather at the airport of departure, observed hourly.",
    features={
        "temp": "Temperature, degrees Fahrenheit.",
        "dewp": "Dew point, degrees Fahrenheit.",
        "humid": "Relative humidity, percent.",
        "wind_speed": "Wind speed, miles per hour.",
        "wind_gust": "Speed of gusts, miles per hour; null when none were reported.",
        "precip_3h": "Rain of the last three hours, inches.",
        "pressure": "Pressure at sea level, millibar.",
        "pressure_change_3h": "Change of pressure over three hours, millibar.",
        "visib": "Visibility, miles.",
    },
)
origin_delays = _view(
    "origin_delays",
    entities=[origin],
    ttl=timedelta(hours=24),
    description="How late flights from this airport have been, of those that have landed in the last hours.",
    features={
        "origin_late_rate_2h": "Share of late arrivals among flights landed in the last 2 hours.",
        "origin_late_rate_4h": "Share of late arrivals among flights landed in the last 4 hours.",
        "origin_late_rate_24h": "Share of late arrivals among flights landed in the last 24 hours.",
        "origin_dep_delay_2h": "Mean departure delay of flights landed in the last 2 hours, minutes.",
        "origin_dep_delay_24h": "Mean departure delay of flights landed in the last 24 hours, minutes.",
    },
)
carrier_delays = _view(
    "carrier_delays",
    entities=[carrier],
    ttl=timedelta(hours=24),
    description="How late this airline's flights have been, of those that have landed in the last hours and week.",
    features={
        "carrier_late_rate_6h": "Share of late arrivals among flights landed in the last 6 hours.",
        "carrier_late_rate_24h": "Share of late arrivals among flights landed in the last 24 hours.",
        "carrier_late_rate_7d": "Share of late arrivals among flights landed in the last 7 days.",
        "carrier_dep_delay_24h": "Mean departure delay of flights landed in the last 24 hours, minutes.",
    },
)
route_delays = _view(
    "route_delays",
    entities=[origin, dest],
    ttl=timedelta(days=2),
    description="How late this route has been over the last week and month.",
    features={
        "route_late_rate_7d": "Share of late arrivals among flights landed in the last 7 days.",
        "route_late_rate_30d": "Share of late arrivals among flights landed in the last 30 days.",
    },
)
route_schedule = _view(
    "route_schedule",
    entities=[origin, dest],
    ttl=timedelta(days=30),
    description="How far this route is, from the published schedule.",
    features={"distance": "Distance between the two airports, miles."},
)
tail_delays = _view(
    "tail_delays",
    entities=[tailnum],
    ttl=timedelta(hours=24),
    description="How late this aircraft arrived the last time.",
    features={"tail_last_arr_delay": "Arrival delay of the aircraft's last flight, minutes."},
)
plane = _view(
    "plane",
    entities=[tailnum],
    ttl=timedelta(0),  # an aircraft does not change: known once, known for good
    description="Seats and age of this aircraft, from the register.",
    features={"seats": "Number of seats.", "built": "Year of manufacture."},
)
