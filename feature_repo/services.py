"""Which features a model takes, by a versioned name that training and serving share.

Belongs here: Feast feature services. Not here: the views that they list (views.py).
"""

from entities import OWNER, TAGS
from feast import FeatureService
from views import carrier_delays, origin_delays, origin_weather, plane, route_delays, route_schedule, tail_delays

flight_delay_v1 = FeatureService(
    name="flight_delay_v1",
    features=[origin_weather, origin_delays, carrier_delays, route_delays, route_schedule, tail_delays, plane],
    description="What is known about a flight two hours before its scheduled departure.",
    owner=OWNER,
    tags=TAGS,
)
