"""Judges NoPii: personal data reaches neither the model nor the readable part of the prediction log."""

from collections.abc import Sequence

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.features.lineage import MOMENT, Lineage, request_lineage, tagged, view_lineage
from mlops_assets.spec.gate import NoPii
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Interval


def judge(gate: NoPii, case: Case) -> Measurement:
    """Measures how many inputs and readable log columns are made from tagged columns; keys do not count.

    Raises ValueError for an input that no declared transform makes.
    """
    use_case, pii = case.use_case, tagged(case.use_case)
    of_views, of_request = view_lineage(use_case), request_lineage(use_case)
    inputs = _select(use_case.features.inputs, of_request | of_views, gate.name)
    logged = _select(_readable_log_columns(use_case), of_views | of_request, gate.name)
    sources = {column: sorted(lineage.values & pii.keys()) for column, lineage in (inputs | logged).items()}
    carrying = {column: tagged_sources for column, tagged_sources in sources.items() if tagged_sources}
    return Measurement(
        passed=not carrying,
        value=Interval(float(len(carrying))),
        bound=0.0,
        message=_finding(carrying, inputs, pii),
        advice="Leave these out, or make them from columns that are not tagged.",
        evidence={"tagged": pii, "carrying": carrying, "inputs": _as_lists(inputs), "log": _as_lists(logged)},
    )


def _select(columns: Sequence[str], lineage: dict[str, Lineage], name: str) -> dict[str, Lineage]:
    for column in columns:
        if column not in lineage:
            known = ", ".join(lineage)
            raise ValueError(f"{name} · no view makes {column!r}, nor does entity_rows; made: {known}. Declare its view.")
    return {column: lineage[column] for column in columns}


def _readable_log_columns(use_case: UseCase) -> list[str]:
    """The columns that serving/log/prediction_log.py takes from a request and its features, without the hidden ones."""
    features = use_case.features
    hidden = {column.name for column in use_case.contract(features.request_table).columns if column.pii}
    # Of the answer's own columns, only the prediction moment is computed from the request.
    return [name for name in dict.fromkeys((MOMENT, *features.request, *features.inputs)) if name not in hidden]


def _finding(carrying: dict[str, list[str]], inputs: dict[str, Lineage], pii: dict[str, str]) -> str:
    if carrying:
        where = {column: "input" if column in inputs else "log column" for column in carrying}
        return "; ".join(f"{where[column]} {column} is made from {', '.join(sources)}" for column, sources in carrying.items())
    if not pii:
        return "no contract tags a column as personal data"
    return f"none of {len(inputs)} inputs and no readable column of the log is made from {', '.join(pii)}"


def _as_lists(columns: dict[str, Lineage]) -> dict[str, dict[str, list[str]]]:
    return {name: {"values": sorted(lineage.values), "keys": sorted(lineage.keys)} for name, lineage in columns.items()}
