"""Inputs that reveal the label."""

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from mlops_assets.foundation.names import SEED
from mlops_assets.inspection.finding import Finding
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.gate import NoLeak
from mlops_assets.statistics.alone import FEWEST, samples_alone
from mlops_assets.statistics.metrics import interval, measure

LEAK_AUC = 0.99  # where no NoLeak declares another bound
FEW_ROWS = 10  # of a class; from FEWEST on the AUC counts as the gate measures it, and below by the low end of its interval
BANDS = 20  # of equal size, in which a number counts as a category: a code such as 2 of 1, 2, 3 has no rank
IN_BANDS = " in bands"


class Alone(NamedTuple):
    """How well an input alone answers a question of yes and no, and how well at least, as few rows show it by chance."""

    auc: float
    least: float
    question: str


def find_leaks(data: Inspected) -> Iterator[Finding]:
    gate = next((gate for gate in data.use_case.gates if isinstance(gate, NoLeak)), None)
    bound = gate.max_single_auc if gate else LEAK_AUC
    otherwise = "; if so, raise NoLeak.max_single_auc" if gate and gate.max_single_auc < 1 else ""
    for name, alone in sorted(measure_alone(data).items(), key=lambda one: -one[1].auc):
        if alone.least > bound:
            message = f"`{name}` alone predicts {alone.question} with AUC {alone.auc:.3f} (bound {bound:g})"
            advice = f"Is it known at prediction time? If not, remove it from the inputs{otherwise}."
            yield Finding("leak", name, alone.auc, bound, message, advice)


def measure_alone(data: Inspected) -> dict[str, Alone]:
    """The largest AUC of each input: as a rank, as a category, or by whether it is missing. None with too few rows of a class.

    skrub.column_associations has no bound in the terms of the gate: Cramér's V of two independent columns of 100 rows is 0.3, and
    its equal bands of a skewed number hide a leak.
    """
    features, rows = data.use_case.features, data.sample
    bands = {name + IN_BANDS: _banded(rows[name]) for name in features.numeric}
    read, categorical = rows.select(*features.inputs, **bands), (*features.categorical, *bands)
    best: dict[str, Alone] = {}
    for question, truth in data.questions(rows).items():
        samples = samples_alone(read, truth, numeric=features.numeric, categorical=categorical, seed=SEED, fewest=FEW_ROWS)
        is_certain = min(truth.sum(), len(truth) - truth.sum()) >= FEWEST
        of = "the label" if question == data.label else f"`{question}`"
        for column, sample in samples.items():
            name, auc = column.removesuffix(IN_BANDS), measure("auc", sample)
            if name not in best or auc > best[name].auc:
                best[name] = Alone(auc, auc if is_certain else interval("auc", sample, seed=SEED).low, of)
    return {name: alone for name, alone in best.items() if alone.auc >= 0}  # without nan


def _banded(column: pl.Series) -> pl.Series:
    values = column.cast(pl.Float64).fill_nan(None)
    if values.n_unique() <= BANDS:
        return values.cast(pl.String)
    return ((values.rank("min") - 1) * BANDS / (len(values) - values.null_count())).floor().cast(pl.String)
