"""How `mlops why`, `replay` and `reproduce` print their results: a verdict first, then labelled facts and tables."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import RenderableType

from mlops_assets.cli.ledger import records_table
from mlops_assets.foundation.terminal import facts, moment, table
from mlops_assets.promotion.blessing import GateVerdict
from mlops_assets.provenance.model_distance import METRIC_TOLERANCE, Distance
from mlops_assets.provenance.replay import TOLERANCE, Replayed
from mlops_assets.provenance.reproduce import Reproduced
from mlops_assets.provenance.why import Why
from mlops_assets.training.training_record import Changed

DIGITS = 12  # of a digest
LAST_RECORDS = 12
CODE = {"code.training_set": "declared features, label, split", "code.candidate": "declared trainer, search"}
MACHINE = ("python", "platform", "cpu", "accelerator", "threads")
TRAINING = {"tables": "table.", "declaration": "code.", "code": "source.", "libraries": "library."}
AGE_UNITS = (("d", 86400), ("h", 3600), ("min", 60))  # with their length in seconds
Page = list[RenderableType]


def as_json(result: Why) -> str:
    """The whole result, with full digests and all records of the version."""
    return json.dumps(asdict(result), indent=1, ensure_ascii=False, default=lambda at: at.astimezone(UTC).isoformat())


def why_page(result: Why) -> Page:
    answer, blessing = result.answer, result.blessing
    request = {name: _request_value(value, result.hidden.get(name)) for name, value in result.request.items()}
    request |= {name: "left out of the log" for name in result.hidden if name not in request}
    views = ((view.view or "request", _age(view.age_s), _joined(view.values)) for view in result.views)
    model: dict[str, object] = {"version": answer["model_version"], "digest": answer["model_digest"]}
    page: Page = [
        f"{result.use_case}: {result.question}",
        facts("ANSWER", _answer(result)),
        facts("REQUEST", request),
        table(("view", "age", "values"), views, title=f"FEATURES from {answer['features_from']}, age at the prediction moment"),
    ]
    ledger = records_table(result.records[-LAST_RECORDS:], title="LEDGER")
    if blessing is None:
        return [*page, facts("MODEL", model | {"NOT VERIFIED": result.objection}), ledger]
    signed = f"{moment(blessing.blessed_at)} by key {blessing.key_id}; signature and digest verified"
    model |= {"blessed": signed, "evidence": f"evaluation {blessing.evaluation_digest}"}
    gates = table(("gate", "result", "measured", "interval", "bound"), map(_gate, blessing.gates), title="GATES")
    return [*page, facts("MODEL", model), gates, ledger, facts("TRAINING", _training(blessing.training))]


def _answer(result: Why) -> dict[str, object]:
    answer, plan = result.answer, result.plan
    arm = f"{answer['arm']} after the challenger failed" if answer.get("challenger_failed") else answer["arm"]
    source = f"{plan.kind} by {plan.by}, {moment(plan.at)}" if plan else "not in the ledger"
    return {
        "probability": f"{answer['probability']:.6g}, decision {'yes' if answer['decision'] else 'no'}",
        "answered": f"{moment(answer['answered_at'])}, in {answer['latency_ms']:g} ms",
        "prediction moment": f"{moment(answer['event_timestamp'])}: no newer value was used",
        "model": f"{arm}, version {answer['model_version']}, plan {answer['plan']} ({source})",
        "prediction id": answer["prediction_id"],
        "trace id": answer["trace_id"],
    }


def _request_value(value: object, how: str | None) -> str:
    return f"{how}: {str(value)[:DIGITS]}…" if how and value is not None else _value(value)


def _gate(gate: GateVerdict) -> tuple[str, ...]:
    measured = "nothing to measure" if gate.measured is None else f"{gate.measured:.4g}"
    interval = "" if gate.low is None or gate.high is None else f"{gate.low:.4g} to {gate.high:.4g}"
    return gate.name, "passed" if gate.passed else "FAILED", measured, interval, f"{gate.bound:g}"


def _training(training: Mapping[str, str]) -> dict[str, str]:
    window = f"{training.get('window.first')} to {training.get('window.last')}, {training.get('rows')} rows"
    return {
        "window": window,
        **{
            label: _joined({key.removeprefix(start): value for key, value in training.items() if key.startswith(start)})
            for label, start in TRAINING.items()
        },
        "machine": _joined({name: training[name] for name in MACHINE if name in training}),
        "trainer": _joined(json.loads(training.get("trainer", "{}"))),
    } | {name: training[name] for name in ("dagster_run_id", "dagster_reason") if name in training}


def replay_page(result: Replayed) -> Page:
    page: Page = [
        f"answer {result.prediction_id}: {_replay_verdict(result)}",
        *(f"objection: {objection}." for objection in result.objections),
    ]
    features = result.recomputed
    if features is None:
        return page if result.objections else [*page, "features: sent by the caller, so there is nothing to recompute"]
    if features.differing:
        sides = ("served", "recomputed")
        rows = ((row.feature, *(_value(row.examples[0][side]) for side in sides)) for row in features.differing)
        page.append(table(("feature", *sides), rows, title=f"{len(features.differing)} of {features.compared} features differ"))
        if features.probability is not None:
            page.append(f"version {result.version} computes {features.probability:.6f} from the recomputed features")
    else:
        page.append(f"features: all {features.compared} compared are the same as served")
    return page + [f"not compared, derived from personal data: {', '.join(features.left_out)}"] * bool(features.left_out)


def _replay_verdict(result: Replayed) -> str:
    if result.again is None:
        return f"NOT REPLAYED: the log has {result.logged:.6f} of version {result.version}"
    values = f"the log has {result.logged:.6f}, version {result.version} computes {result.again:.6f} (tolerance {TOLERANCE:g})"
    if not result.same_answer:
        return f"DIFFERENT ANSWER: {values}"
    return f"{'same answer' if result.is_same else 'same answer from the logged inputs, BUT SEE BELOW'}: {values}"


def reproduce_page(result: Reproduced) -> Page:
    subject = f"{result.use_case}, version {result.version}"
    source = f"trained again on version {result.table_version} of its training_set"
    if result.distance is None:
        first = f"{subject}: same model, {source}; ONNX digest {result.digest[:DIGITS]}… again"
        return [first, *([_changes(result.changed, "Changed since, without effect")] if result.changed else [])]
    verdict = "equivalent model" if result.is_good else "DIFFERENT MODEL"
    first = f"{subject}: {verdict}, {source}; ONNX digest {result.again[:DIGITS]}…, was {result.digest[:DIGITS]}…"
    unchanged = "code, libraries and machine are unchanged: the cause was not recorded"
    return [first, *_distance(result.distance), _changes(result.changed, "Changed since") if result.changed else unchanged]


def _distance(distance: Distance) -> Page:
    side = "within" if distance.is_within else "NOT within"
    rows = ((name, f"{then:.5f}", f"{now:.5f}", f"{now - then:+.5f}") for name, (then, now) in distance.metrics.items())
    title = f"Metrics on {distance.rows:,} test rows are {side} the tolerance of {METRIC_TOLERANCE:g}"
    weights = "different structure" if distance.weights is None else f"at most {distance.weights:.3g} apart"
    return [
        table(("metric", "then", "now", "difference"), rows, title=title),
        f"weights: {weights}; probabilities: at most {distance.probability:.3g} apart",
    ]


def _changes(changed: tuple[Changed, ...], title: str) -> RenderableType:
    rows = ((_label(change.name), change.then or "not recorded", change.now) for change in changed)
    return table(("what", "then", "now"), rows, title=title)


def _label(name: str) -> str:
    kind, _, rest = name.partition(".")
    return {"source": f"code of training/{rest.replace('train_', 'trainers/')}.py", "library": f"library {rest}"}.get(
        kind
    ) or CODE.get(name, name)


def _joined(values: Mapping[str, object]) -> str:
    return " · ".join(f"{name} {_value(value)}" for name, value in values.items())


def _age(seconds: float | None) -> str:
    """In the largest unit of which there are two."""
    if seconds is None:
        return ""
    return next(
        (f"{seconds / length:.1f} {unit}" for unit, length in AGE_UNITS if abs(seconds) >= 2 * length), f"{seconds:.0f} s"
    )


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return "missing" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
