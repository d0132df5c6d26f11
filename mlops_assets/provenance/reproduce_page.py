"""A model trained again, told to a person: same file or not, how far apart, and what changed meanwhile.

Belongs here: sentences and columns. Not here: the comparison (reproduce.py).
"""

from collections.abc import Iterator

from mlops_assets.provenance.reproduce import Reproduced
from mlops_assets.stages.model_distance import METRIC_TOLERANCE, Distance
from mlops_assets.stages.training_record import Changed

SHOWN = 12  # digits of a digest
DECLARED = {"code.training_set": "features, label, split as declared", "code.candidate": "trainer, search as declared"}


def as_text(found: Reproduced) -> str:
    """Some ten lines; the first one says it all."""
    return "\n".join(_lines(found))


def _lines(found: Reproduced) -> Iterator[str]:
    where = f"{found.use_case} · version {found.version}"
    rows = f"trained again on version {found.table_version} of its training_set"
    if found.distance is None:
        yield f"{where} · same model: {rows}, it has the ONNX digest {found.digest[:SHOWN]}… again."
    else:
        verdict = "equivalent model" if found.is_good else "ANOTHER MODEL"
        yield f"{where} · {verdict}: {rows}, its ONNX digest is {found.again[:SHOWN]}… and was {found.digest[:SHOWN]}…."
        yield from _distance(found.distance)
    yield from _changed(found)


def _distance(apart: Distance) -> Iterator[str]:
    side = "within" if apart.is_within else "NOT within"
    yield f"  metrics on the {apart.rows:,} test rows are {side} the tolerance of {METRIC_TOLERANCE:g}"
    for name, (then, now) in apart.metrics.items():
        yield f"    {name:<20} {then:.5f} then   {now:.5f} now   {now - then:+.5f}"
    weights = "their structure differs" if apart.weights is None else f"at most {apart.weights:.3g} apart"
    yield f"  weights: {weights}; probabilities: at most {apart.probability:.3g} apart"


def _changed(found: Reproduced) -> Iterator[str]:
    if found.changed:
        yield f"  {'not' if found.distance else 'although not'} as it was at the first training:"
        yield from (f"    {_said(each)}" for each in found.changed)
    elif found.distance:
        yield "  code, libraries and machine are as they were: what makes the difference was not recorded"


def _said(each: Changed) -> str:
    kind, _, name = each.name.partition(".")
    named = {"source": f"code of stages/{name}.py", "library": f"library {name}"}.get(kind) or DECLARED.get(each.name, each.name)
    return f"{named:<34} {each.then or 'not recorded'} → {each.now}"
