"""Judges NoPii: personal data reaches neither the model nor the readable part of the prediction log.

How columns are followed is in stages/lineage.py.
"""

import math
from collections.abc import Sequence

from mlops_assets.spec.gate import NoPii
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.gates.case import Case, Measurement
from mlops_assets.stages.lineage import MOMENT, Made, made_by_request, made_by_views, tagged
from mlops_assets.stages.metrics import Interval


def judge(gate: NoPii, case: Case) -> Measurement:
    """Measures how many inputs and readable log columns are made from tagged columns; keys do not count.

    Raises ValueError for an input that no declared transform makes.
    """
    use_case = case.use_case
    pii = tagged(use_case)
    of_views, of_request = made_by_views(use_case), made_by_request(use_case)
    inputs = _taken(use_case.features.inputs, of_request | of_views, gate.name)
    logged = _taken(_readable_in_the_log(use_case), of_views | of_request, gate.name)
    carrying = {name: sorted(one.values & pii.keys()) for name, one in (inputs | logged).items() if one.values & pii.keys()}
    return Measurement(
        passed=not carrying,
        value=Interval(float(len(carrying)), math.nan, math.nan),
        bound=0.0,
        message=_message(carrying, inputs, pii),
        advice="Leave these out, or make them from columns that are not tagged.",
        evidence={
            "tagged": pii,
            "carrying": carrying,
            "inputs": {name: _sources(one) for name, one in inputs.items()},
            "log": {name: _sources(one) for name, one in logged.items()},
        },
    )


def _taken(wanted: Sequence[str], made: dict[str, Made], name: str) -> dict[str, Made]:
    for each in wanted:
        if each not in made:
            raise ValueError(f"{name} · no view makes {each!r}, nor does entity_rows; made: {', '.join(made)}. Declare its view.")
    return {each: made[each] for each in wanted}


def _readable_in_the_log(use_case: UseCase) -> list[str]:
    """The columns that ports/prediction_log.py `log_schema` takes from a request and its features, less those it hides.

    Of the answer's own columns only the prediction moment is made from what was sent.
    """
    features = use_case.features
    request = use_case.contract(features.request_table)
    hidden = {column.name for column in request.columns if column.pii}
    return [name for name in dict.fromkeys((MOMENT, *features.request, *features.inputs)) if name not in hidden]


def _message(carrying: dict[str, list[str]], inputs: dict[str, Made], pii: dict[str, str]) -> str:
    if carrying:
        where = {each: "input" if each in inputs else "log column" for each in carrying}
        return "; ".join(f"{where[each]} {each} is made from {', '.join(sources)}" for each, sources in carrying.items())
    if not pii:
        return "no contract tags a column as personal data"
    return f"none of {len(inputs)} inputs and no readable column of the log is made from {', '.join(pii)}"


def _sources(made: Made) -> dict[str, list[str]]:
    return {"values": sorted(made.values), "keys": sorted(made.keys)}
