"""A unit is recognised by quantiles, of which there have to be several."""

import numpy as np
import pytest

from mlops_assets.monitoring.investigation.columns import UNITS, _unit

TEMPERATURES = np.random.default_rng(0).normal(12.0, 6.0, 4000)


@pytest.mark.parametrize("name", ["°C to °F", "hundreds, such as cents or percent", "the other sign"])
def test_a_change_of_unit_is_named(name: str) -> None:
    factor, offset = UNITS[name]
    finding = _unit(TEMPERATURES, factor * TEMPERATURES + offset, chance=0.02)
    assert finding and finding.evidence.endswith(name)


@pytest.mark.parametrize("share", [0.8, 0.93, 0.99])
def test_a_column_of_one_value_nearly_everywhere_is_in_no_other_unit(share: float) -> None:
    """Such as rain, which has the same two quantiles in any season."""
    draws = np.random.default_rng(1)
    rain = np.where(draws.random(4000) < share, 0.0, draws.exponential(0.1, 4000))
    more = np.where(draws.random(4000) < share, 0.0, draws.exponential(0.3, 4000))
    assert _unit(rain, more, chance=0.02) is None


@pytest.mark.parametrize("places", [0, 1])
def test_a_converted_column_is_known_from_a_shifted_one_by_the_values_that_it_can_have(places: int) -> None:
    """Both have the same quantiles. The values of a thermometer in °F are those that °C give, on its scale or rounded by hand."""
    celsius = TEMPERATURES.round(places)
    warmer = np.quantile(celsius, np.random.default_rng(2).random(4000), method="nearest") * 0.9 + 6
    finding = _unit(celsius, (1.8 * celsius + 32).round(1), chance=0.02)
    assert finding and finding.evidence.endswith("°C to °F")
    finding = _unit(celsius, (1.8 * celsius + 32).round(), chance=0.02)
    assert finding and finding.evidence.endswith("°C to °F")
    assert _unit(celsius, warmer.round(places), chance=0.5) is None
