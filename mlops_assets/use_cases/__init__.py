"""The use cases that this platform runs, listed explicitly."""

from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import flight_delay

USE_CASES: tuple[UseCase, ...] = (flight_delay.USE_CASE,)
