"""What may be declared several times, and the names of its assets, sensors and schedules."""

import re
from collections.abc import Sequence
from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.spec import Spec

# In the text of a value, so that different schedules stay different: 0 6 * * 1 is 0_6_any_any_1.
SIGNS = {"*": " any ", "/": " step ", "-": " to ", ",": " and ", "#": " nth "}


class Suffixed(Spec):
    """What may be declared several times. `suffix` ends its name, such as `drift_week`. Without one, the only one of its kind has
    the kind's name, and several are named by their values that are not the default, such as `drift_window_7_days`.
    """

    suffix: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$", repr=False)


def endings(declared: Sequence[Suffixed]) -> list[str]:
    """What follows the kind in the name of each, with its underscore; empty for the only one of a kind."""
    unnamed = [type(one) for one in declared if not one.suffix]
    texts = [one.suffix or (_changed_values(one) if unnamed.count(type(one)) > 1 else "") for one in declared]
    return [f"_{text}" if text else "" for text in texts]


def _changed_values(spec: Spec) -> str:
    fields = type(spec).model_fields
    changed = [f"{name} {_text(value)}" for name, value in spec if value != fields[name].default]
    return re.sub(r"\W+", "_", " ".join(changed)).strip("_").lower()


def _text(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(days=1):g} days"
    return str(value).translate(str.maketrans(SIGNS))
