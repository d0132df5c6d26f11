"""A replayed answer, told to a person: the same, or what differs.

Belongs here: sentences and columns. Not here: the recomputation (replay.py).
"""

from collections.abc import Iterator
from typing import Any

from mlops_assets.provenance.replay import TOLERANCE, Recomputed, Replayed


def as_text(found: Replayed) -> str:
    """Two lines where all is well; the first one says whether it is."""
    return "\n".join(_lines(found))


def _lines(found: Replayed) -> Iterator[str]:
    yield f"answer {found.prediction_id} · {_verdict(found)}"
    yield from (f"  objection: {each}." for each in found.objections)
    if found.recomputed is not None:
        yield from _recomputed(found.recomputed, found.version)
    elif not found.objections:
        yield "  features: its caller gave them, so that there is nothing to recompute"


def _verdict(found: Replayed) -> str:
    if found.again is None:
        return f"NOT REPLAYED: {found.logged:.6f} was logged of version {found.version}"
    tolerance = f"tolerance {TOLERANCE:g}"
    if not found.same_answer:
        beside = f"version {found.version} gives {found.again:.6f} for the logged inputs"
        return f"ANOTHER ANSWER: {found.logged:.6f} was logged, {beside} ({tolerance})"
    said = "same answer" if found.is_same else "same answer from the logged inputs, BUT"
    return f"{said}: version {found.version} gives {found.again:.6f} again ({tolerance})"


def _recomputed(features: Recomputed, version: int) -> Iterator[str]:
    if features.differing:
        yield f"  features: {len(features.differing)} of {features.compared} are recomputed otherwise:"
        yield from (f"    {each.feature:<24} {_pair(each.examples[0])}" for each in features.differing)
        if features.probability is not None:
            yield f"    with the recomputed ones version {version} answers {features.probability:.6f}"
    else:
        yield f"  features: all {features.compared} that were compared are recomputed as they were served"
    if features.left_out:
        yield f"  not compared, as the log hides what they follow from: {', '.join(features.left_out)}"


def _pair(example: dict[str, Any]) -> str:
    served, again = (_value(example[side]) for side in ("served", "recomputed"))
    return f"served {served:<14} recomputed {again}"


def _value(value: Any) -> str:
    return "missing" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
