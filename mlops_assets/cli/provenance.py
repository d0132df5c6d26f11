"""`mlops why`, `replay`, `reproduce`: the origin of an answer or a model, and the same again; a verdict, facts and tables."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from mlops_assets.cli.arguments import Json, OfUseCase, declared, open_resources, served_here
from mlops_assets.cli.promotion import records_table
from mlops_assets.foundation.moments import to_second
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.terminal import facts, show, table
from mlops_assets.foundation.wording import some
from mlops_assets.promotion.blessing import GateVerdict

if TYPE_CHECKING:
    from mlops_assets.provenance.replay import Output, Replayed
    from mlops_assets.provenance.reproduce import Reproduced
    from mlops_assets.provenance.why import Stores, Why

DIGITS = 12  # of a digest
LAST_RECORDS = 12
CODE = {"code.training_set": "declared features, label, split", "code.candidate": "declared trainer, search"}
MACHINE = ("python", "platform", "cpu", "accelerator", "threads")
TRAINING = {"tables": "table.", "declaration": "code.", "code": "source.", "libraries": "library."}
AGE_UNITS = (("d", 86400), ("h", 3600), ("min", 60))  # with their length in seconds
Page = list[RenderableType]
PredictionId = Annotated[str, typer.Argument(help="The prediction_id of an answer.")]
OfPrediction = Annotated[str, typer.Option("--use-case", help="The use case.", show_default="the one whose log has the answer")]


def why(prediction_id: PredictionId, use_case: OfPrediction = "", as_json: Json = False) -> None:
    """Show what one answer was computed from: features with their ages, model, gates, approvals, data and code."""
    from mlops_assets.provenance.why import why as gather

    use_case = use_case or _use_case_of(prediction_id)
    result = gather(declared(use_case), prediction_id, _open_stores(use_case))
    show(*([why_json(result)] if as_json else why_page(result)))


def replay(prediction_id: PredictionId, use_case: OfPrediction = "") -> None:
    """Compute one answer again with the same model, and its features as of its moment; exit code 1 where either differs."""
    from mlops_assets.provenance.replay import replay as recompute

    use_case = use_case or _use_case_of(prediction_id)
    stores = _open_stores(use_case)
    result = recompute(declared(use_case), stores.log.find(prediction_id), stores)
    show(*replay_page(result))
    raise typer.Exit(0 if result.is_same else 1)


def reproduce(
    version: Annotated[int, typer.Argument(help="A registered version; MLflow and `mlops status` list them.")],
    use_case: OfUseCase,
) -> None:
    """Train one version again from its recorded rows; exit code 1 where the model differs."""
    from mlops_assets.provenance.reproduce import reproduce as train_again

    declaration, stores, registry = declared(use_case), _open_stores(use_case), open_resources()["registry"].open()
    result = train_again(declaration, version, stores, registry=registry, progress=partial(typer.echo, err=True))
    show(*reproduce_page(result))
    raise typer.Exit(0 if result.is_good else 1)


def _use_case_of(prediction_id: str) -> str:
    """The only use case that has logged the answer. Of several that this home serves, none may have it, or more than one."""
    from mlops_assets.serving.log.prediction_log import UnknownPrediction

    resources, names, owners = open_resources(), served_here(), list[str]()
    if len(names) == 1:
        return names[0]
    for name in names:
        with suppress(UnknownPrediction):
            resources["prediction_log"].open(declared(name)).find(prediction_id)
            owners.append(name)
    if not owners:
        raise UnknownPrediction(f"{prediction_id} · none of {some(names)} has logged this answer. Correct it, or set MLOPS_HOME.")
    if len(owners) > 1:
        raise typer.BadParameter(f"{', '.join(owners)} have logged an answer {prediction_id}. Name one with --use-case.")
    return owners[0]


def _open_stores(use_case: str) -> "Stores":
    from mlops_assets.provenance.why import Stores

    declaration, resources = declared(use_case), open_resources()
    return Stores(
        log=resources["prediction_log"].open(declaration),
        deployment=resources["deployment"].open(use_case),
        keys=resources["signing_keys"].open(),
        ledger=resources["ledger"].open(),
        tables=resources["warehouse"].open(),
        open_features=resources["feature_store"].open,
    )


def why_json(result: "Why") -> str:
    """The whole result, with full digests and all records of the version."""
    return json.dumps(asdict(result), indent=1, ensure_ascii=False, default=lambda at: at.astimezone(UTC).isoformat())


def why_page(result: "Why") -> Page:
    answer, blessing = result.answer, result.blessing
    request = {
        name: f"{result.hidden[name]}: {str(value)[:DIGITS]}…" if name in result.hidden and value is not None else _value(value)
        for name, value in result.request.items()
    } | {name: "left out of the log" for name in result.hidden if name not in result.request}
    views = ((view["view"] or "request", _age(view["age_s"]), _joined(view["values"])) for view in result.views)
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
    signed = f"{to_second(blessing.blessed_at)} by key {blessing.key_id}; signature and digest verified"
    model |= {"blessed": signed, "evidence": f"evaluation {blessing.evaluation_digest}"}
    gates = table(("gate", "result", "measured", "interval", "bound"), map(_gate, blessing.gates), title="GATES")
    return [*page, facts("MODEL", model), gates, ledger, facts("TRAINING", _training(blessing.training))]


def _answer(result: "Why") -> dict[str, object]:
    answer, plan = result.answer, result.plan
    arm = f"{answer['arm']} after the challenger failed" if answer.get("challenger_failed") else answer["arm"]
    source = f"{plan.kind} by {plan.by}, {to_second(plan.at)}" if plan else "not in the ledger"
    return {
        "prediction": result.prediction,
        "answered": f"{to_second(answer['answered_at'])}, in {answer['latency_ms']:g} ms",
        "prediction moment": f"{to_second(answer[EVENT_TIMESTAMP])}: no newer value was used",
        "model": f"{arm}, version {answer['model_version']}, plan {answer['plan']} ({source})",
        "prediction id": answer["prediction_id"],
        "trace id": answer["trace_id"],
    }


def _gate(gate: GateVerdict) -> tuple[str, ...]:
    measured = "nothing to measure" if gate.measured is None else f"{gate.measured:.4g}"
    interval = "" if gate.low is None or gate.high is None else f"{gate.low:.4g} to {gate.high:.4g}"
    return gate.name, gate.result, measured, interval, f"{gate.bound:g}"


def _training(training: Mapping[str, str]) -> dict[str, str]:
    parts = {
        label: {name.removeprefix(start): value for name, value in training.items() if name.startswith(start)}
        for label, start in TRAINING.items()
    }
    parts["machine"] = {name: training[name] for name in MACHINE if name in training}
    parts["trainer"] = json.loads(training.get("trainer", "{}"))
    rows = f"of {training.get('rows')} rows with those of validation and test"
    window = f"{training.get('window.first')} to {training.get('window.last')}, {rows}"
    run = {name: training[name] for name in ("dagster_run_id", "dagster_reason") if name in training}
    return {"window": window, **{label: _joined(values) for label, values in parts.items()}, **run}


def replay_page(result: "Replayed") -> Page:
    from mlops_assets.provenance.replay import TOLERANCE

    if result.again is None:
        verdict = f"NOT REPLAYED: the log has {_output(result.logged)} of version {result.version}"
    else:
        same = "same answer" if result.is_same else "same answer from the logged inputs, BUT SEE BELOW"
        again = f"version {result.version} computes {_output(result.again)} (tolerance {TOLERANCE:g})"
        values = f"the log has {_output(result.logged)}, {again}"
        verdict = f"{same if result.same_answer else 'DIFFERENT ANSWER'}: {values}"
    page: Page = [f"answer {result.prediction_id}: {verdict}", *(f"objection: {objection}." for objection in result.objections)]
    features = result.recomputed
    if features is None:
        return page if result.objections else [*page, "features: sent by the caller, so there is nothing to recompute"]
    if features.differing:
        sides = ("served", "recomputed")
        rows = ((row.feature, *(_value(row.examples[0][side]) for side in sides)) for row in features.differing)
        page.append(table(("feature", *sides), rows, title=f"{len(features.differing)} of {features.compared} features differ"))
        if features.output is not None:
            page.append(f"version {result.version} computes {_output(features.output)} from the recomputed features")
    else:
        page.append(f"features: all {features.compared} compared are the same as served")
    return page + [f"not compared, as the log hides or lacks their source: {', '.join(features.left_out)}"] * bool(
        features.left_out
    )


def reproduce_page(result: "Reproduced") -> Page:
    from mlops_assets.provenance.reproduce import METRIC_TOLERANCE

    subject = f"{result.use_case}, version {result.version}"
    source = f"trained again on version {result.table_version} of its training_set; ONNX digest {result.again[:DIGITS]}…"
    rows = ((_label(change.name), change.then or "not recorded", change.now) for change in result.changed)
    distance, title = result.distance, "Changed since" if result.distance else "Changed since, without effect"
    changes: Page = [table(("what", "then", "now"), rows, title=title)] if result.changed else []
    if distance is None:
        return [f"{subject}: same model, {source} again", *changes]
    verdict, side = ("equivalent model", "within") if distance.is_within else ("DIFFERENT MODEL", "NOT within")
    weights = "different structure" if distance.weights is None else f"at most {distance.weights:.3g} apart"
    metrics = ((name, f"{then:.5f}", f"{now:.5f}", f"{now - then:+.5f}") for name, (then, now) in distance.metrics.items())
    title = f"Metrics on {distance.rows:,} test rows are {side} the tolerance of {METRIC_TOLERANCE:g}"
    return [
        f"{subject}: {verdict}, {source}, was {result.digest[:DIGITS]}…",
        table(("metric", "then", "now", "difference"), metrics, title=title),
        f"weights: {weights}; outputs: at most {distance.output:.3g} apart",
        *(changes or ["code, libraries and machine are unchanged: the cause was not recorded"]),
    ]


def _label(name: str) -> str:
    kind, _, rest = name.partition(".")
    code = f"code of training/{rest.replace('train_', 'trainers/')}.py"
    labels = {"source": code, "module": f"code of module {rest.lstrip('.')}", "library": f"library {rest}"}
    return labels.get(kind) or CODE.get(name, name)


def _joined(values: Mapping[str, object]) -> str:
    return " · ".join(f"{name} {_value(value)}" for name, value in values.items())


def _age(seconds: float | None) -> str:
    """In the largest unit of which there are two."""
    if seconds is None:
        return ""
    return next(
        (f"{seconds / length:.1f} {unit}" for unit, length in AGE_UNITS if abs(seconds) >= 2 * length), f"{seconds:.0f} s"
    )


def _output(output: "Output") -> str:
    numbers = output if isinstance(output, list) else [output]
    return ", ".join(f"{number:.6f}" for number in numbers)


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return to_second(value)
    return "missing" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
