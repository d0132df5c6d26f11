"""How old the assets of a use case may become."""

from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.spec import Spec


class Freshness(Spec):
    """How old each stage may become before it is reported."""

    raw: timedelta = Field(default=timedelta(hours=36), gt=timedelta(0))
    features: timedelta = Field(default=timedelta(hours=36), gt=timedelta(0))
    predictions: timedelta = Field(default=timedelta(hours=48), gt=timedelta(0))
    service: timedelta = Field(default=timedelta(days=14), gt=timedelta(0))
