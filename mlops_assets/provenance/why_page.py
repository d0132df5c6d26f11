"""Why one answer was given, as a page for a tired person and as JSON for a program.

Belongs here: headings, columns, words for ages. Not here: gathering it (why.py).
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlops_assets.ports.ledger_chain import Record
from mlops_assets.provenance.why import ViewValues, Why
from mlops_assets.stages.bless import Blessing, GateVerdict

WIDTH, LABEL = 120, 19  # columns of the screen, and of the words on the left
SHOWN = 12  # digits of a digest
LAST_RECORDS = 6
MISSING = "missing"


def as_json(found: Why) -> str:
    """The same as the page, whole: digests in full, every record that names the version."""
    said = asdict(found)
    return json.dumps(said, indent=1, ensure_ascii=False, default=_plain)


def as_text(found: Why) -> str:
    """At most about sixty lines of WIDTH columns."""
    return "\n".join(_lines(found))


def _lines(found: Why) -> Iterator[str]:
    answer = found.answer
    yield f"{found.use_case} · {found.question}"
    yield "ANSWER"
    yield from _labelled(_answer(found))
    yield "ASKED"
    yield from _flow("", (_asked(name, value, found.hidden.get(name)) for name, value in found.asked.items()))
    yield from _flow("", (f"{name} (left out of the log)" for name in found.hidden if name not in found.asked))
    yield f"FEATURES from {answer['features_from']}, with their age at the prediction moment"
    width = max((len(_named(view)) for view in found.views), default=0)
    for view in found.views:
        yield from _flow(
            f"{_named(view):<{width}} {_aged(view):>11}", (f"{name} {_value(value)}" for name, value in view.values.items())
        )
    yield f"MODEL version {answer['model_version']}"
    yield from _labelled({"digest": answer["model_digest"]})
    if found.blessing is None:
        yield from _labelled({"NOT VERIFIED": str(found.objection)})
    else:
        yield from _blessed(found.blessing)
    yield from _recorded(found.records)
    if found.blessing is not None:
        yield "TRAINED"
        yield from _trained(found.blessing.training)


def _answer(found: Why) -> dict[str, str]:
    answer = found.answer
    decision = "yes" if answer["decision"] else "no"
    return {
        "probability": f"{answer['probability']:.6g}, decided {decision}",
        "answered": f"{_moment(answer['answered_at'])}, in {answer['latency_ms']:g} ms",
        "prediction moment": f"{_moment(answer['event_timestamp'])}: nothing newer was used",
        "by": f"{_arm(answer)}, version {answer['model_version']}, plan {answer['plan']} {_plan(found.plan)}",
        "prediction id": f"{answer['prediction_id']}   trace id {answer['trace_id']}",
    }


def _arm(answer: dict[str, Any]) -> str:
    return f"{answer['arm']}, as the challenger was asked and failed" if answer.get("challenger_failed") else answer["arm"]


def _plan(plan: Record | None) -> str:
    return f"({plan.kind} by {plan.by}, {_moment(plan.at)})" if plan else "(not in the ledger)"


def _asked(name: str, value: Any, how: str | None) -> str:
    return f"{name} {_value(value)}" if how is None or value is None else f"{name} {how} as {value[:SHOWN]}…"


def _named(view: ViewValues) -> str:
    return view.view or "of the request"


def _aged(view: ViewValues) -> str:
    return "" if view.view is None else "-" if view.age_s is None else _age(view.age_s)


def _blessed(blessing: Blessing) -> Iterator[str]:
    when = f"{_moment(blessing.blessed_at)} by key {blessing.key_id}; signature and digest of the placed file hold"
    yield from _labelled({"blessed": when, "evidence": f"evaluation {blessing.evaluation_digest[:SHOWN]}…"})
    for number, gate in enumerate(blessing.gates):
        yield f"  {'gates' if number == 0 else '':<{LABEL}}{_gate(gate)}"


def _gate(gate: GateVerdict) -> str:
    interval = f" ({gate.low:.4g} to {gate.high:.4g})" if gate.low is not None and gate.high is not None else ""
    measured = "nothing to measure" if gate.measured is None else f"{gate.measured:.4g}{interval}"
    return f"{'passed' if gate.passed else 'FAILED'} {gate.name:<34} measured {measured:<26} bound {gate.bound:g}"


def _recorded(records: tuple[Record, ...]) -> Iterator[str]:
    blessed = [each for each in records if each.kind == "blessing"]
    approvals = [each for each in records if each.kind == "approval"]
    moves = [each for each in records if each.kind not in ("blessing", "approval")]
    for label, kept in (("blessing", blessed), ("approvals", approvals), ("what serves", moves)):
        lines = [_record(each) for each in kept[-LAST_RECORDS:]] or ["none in the ledger"]
        yield from (f"  {label if number == 0 else '':<{LABEL}}{line}" for number, line in enumerate(lines))


def _record(record: Record) -> str:
    why = record.body.get("reason") or record.body.get("why") or ""
    said = f"record {record.number}: {record.kind} by {record.by}, {_moment(record.at)}"
    return textwrap.shorten(f"{said} · {why}" if why else said, WIDTH - LABEL - 2, placeholder=" …")


def _trained(training: Mapping[str, str]) -> Iterator[str]:
    window = f"{training.get('window.first')} to {training.get('window.last')}, {training.get('rows')} rows"
    yield from _labelled({"window": window})
    parts = {"tables": "table.", "declared": "code.", "code": "source.", "libraries": "library."}
    for label, start in parts.items():
        yield from _flow(label, (f"{key.removeprefix(start)} {training[key]}" for key in training if key.startswith(start)))
    machine = (f"{name} {training[name]}" for name in ("python", "platform", "cpu", "accelerator", "threads") if name in training)
    yield from _flow("machine", machine)
    trainer: dict[str, Any] = json.loads(training.get("trainer", "{}"))
    yield from _flow("trainer", (f"{name} {value}" for name, value in trainer.items()))
    yield from _labelled({name: training[name] for name in ("dagster_run_id", "dagster_reason") if name in training})


def _labelled(said: Mapping[str, str]) -> Iterator[str]:
    for label, text in said.items():
        yield from _wrapped(label, text)


def _flow(label: str, items: Iterable[str]) -> Iterator[str]:
    """Items one after the other, none of them broken; nothing where there are none."""
    text = "\0· ".join(item.replace(" ", "\0") for item in items)
    yield from (line.replace("\0", " ") for line in _wrapped(label, text) if text)


def _wrapped(label: str, text: str) -> list[str]:
    width = max(LABEL, len(label) + 2)  # the names of views are longer than other labels
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"  {label:<{width}}", subsequent_indent=" " * (width + 2),
        break_on_hyphens=False,
    )  # fmt: skip


def _age(seconds: float) -> str:
    """Two units at most: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    minutes, hours, days = round(seconds / 60), round(seconds / 60) // 60, round(seconds / 3600) // 24
    if abs(seconds) < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{days} d {round(seconds / 3600) % 24} h"


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return _moment(value)
    if value is None:
        return MISSING
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _moment(at: datetime | str) -> str:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"why · {type(value).__name__} has no JSON form here.")
