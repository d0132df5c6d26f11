"""Judges NoPii: personal data reaches neither the model nor the readable part of the prediction log."""

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.features.lineage import MOMENT, Lineage, request_lineage, tagged, view_lineage
from mlops_assets.spec.gate import NoPii
from mlops_assets.statistics.metrics import Interval


def judge(_gate: NoPii, case: Case) -> Measurement:
    """Measures how many inputs and readable log columns are made from tagged columns; keys do not count."""
    use_case, features, pii = case.use_case, case.use_case.features, tagged(case.use_case)
    of_views, of_request = view_lineage(use_case), request_lineage(use_case)
    inputs = {name: (of_request | of_views)[name] for name in features.inputs}
    hidden = {column.name for column in use_case.contract(features.request_table).columns if column.pii}
    # What serving/log/prediction_log.py takes from a request and its features; of the answer's own columns, only the
    # prediction moment is computed from the request, where it has one.
    moment = [MOMENT] if features.has_moment else []
    readable = [name for name in (*moment, *features.request, *features.inputs) if name not in hidden]
    logged = {name: (of_views | of_request)[name] for name in readable}
    sources = {column: sorted(lineage.values & pii.keys()) for column, lineage in (inputs | logged).items()}
    carrying = {column: tagged_sources for column, tagged_sources in sources.items() if tagged_sources}
    inputs_and_log = {
        part: {name: {"values": sorted(one.values), "keys": sorted(one.keys)} for name, one in columns.items()}
        for part, columns in (("inputs", inputs), ("log", logged))
    }
    return Measurement(
        passed=not carrying,
        value=Interval(float(len(carrying))),
        bound=0.0,
        message=_finding(carrying, inputs, pii),
        advice="Leave these out, or make them from columns that are not tagged.",
        evidence={"tagged": pii, "carrying": carrying, **inputs_and_log},
    )


def _finding(carrying: dict[str, list[str]], inputs: dict[str, Lineage], pii: dict[str, str]) -> str:
    if carrying:
        where = {column: "input" if column in inputs else "log column" for column in carrying}
        return "; ".join(f"{where[column]} {column} is made from {', '.join(sources)}" for column, sources in carrying.items())
    if not pii:
        return "no contract tags a column as personal data"
    return f"none of {len(inputs)} inputs and no readable column of the log is made from {', '.join(pii)}"
