"""What features are about: the things that a request names.

Belongs here: Feast entities. Not here: features (views.py) and which of them a model takes (services.py).
"""

from feast import Entity, ValueType

OWNER = "team:network-operations"
TAGS = {"use_case": "flight_delay"}

origin = Entity(
    name="origin",
    join_keys=["origin"],
    value_type=ValueType.STRING,
    description="Airport of departure, FAA code.",
    owner=OWNER,
    tags=TAGS,
)
dest = Entity(
    name="dest",
    join_keys=["dest"],
    value_type=ValueType.STRING,
    description="Airport of arrival, FAA code; with the origin it names a route.",
    owner=OWNER,
    tags=TAGS,
)
carrier = Entity(
    name="carrier", join_keys=["carrier"], value_type=ValueType.STRING, description="Airline, IATA code.", owner=OWNER, tags=TAGS
)
tailnum = Entity(
    name="tailnum",
    join_keys=["tailnum"],
    value_type=ValueType.STRING,
    description="Aircraft, by its registration.",
    owner=OWNER,
    tags=TAGS,
)
