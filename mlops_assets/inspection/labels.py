"""The task of a label: which question its values answer."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops_assets.foundation.wording import counted
from mlops_assets.inspection.columns import InspectedColumn
from mlops_assets.inspection.roles import MAX_CLASSES
from mlops_assets.inspection.table_file import NoTable
from mlops_assets.spec.gate import Floor, NoLeak
from mlops_assets.spec.task import Binary, Multiclass, Regression

Level = Any
MAX_INT_CLASSES = 10  # whole numbers with more values, or far apart, are amounts
MAX_TYPO_SHARE = 0.01
YES_WORDS = ("1", "true", "yes", "y", "ja", "positive", "pos", "bad", "fraud", "spam", "default", "churn", "malignant", "late")
# Better than no model: an AUC of a coin is 0.5, and an r2 of the mean 0.
FLOORS = {"Binary": Floor(metric="auc", bound=0.55), "Multiclass": Floor(metric="auc", bound=0.55)}
BETTER_THAN_THE_MEAN = Floor(metric="r2", bound=0.0)
CLASSES_LEAK = NoLeak()
# One honest input may decide much of a number, as the size of a flat does of its price: a normal variable that explains 85% of
# another one has an AUC of 0.95, and one that explains 95% has this one.
NUMBERS_LEAK = NoLeak(max_single_auc=0.985)


@dataclass(frozen=True)
class ProposedTask:
    """`levels`: the legal values of a label of text or whole numbers; empty: any number."""

    task: Binary | Multiclass | Regression
    question: str
    floor: Floor
    levels: tuple[Level, ...] = ()
    assumptions: tuple[str, ...] = ()
    no_leak: NoLeak = CLASSES_LEAK


def propose_task(label: InspectedColumn, wish: str = "") -> ProposedTask:
    """`wish`: binary, multiclass, regression, or empty. Raises NoTable."""
    typos = find_typos(label.levels) if label.dtype == "string" and len(label.levels) < 2 * MAX_CLASSES else {}
    levels = tuple(level for level in label.levels if level not in typos)
    _require_label(label, label.values.drop_nulls().n_unique() - len(typos))
    kind = wish or _likely_task(label, levels)
    if kind not in PROPOSALS:
        raise NoTable(f"--task · found {wish!r}; legal: {', '.join(PROPOSALS)}. Use one of these.")
    proposed = PROPOSALS[kind](label, levels)
    rows = sum(label.levels[level] for level in typos)
    shown = ", ".join(f"{typo!r} ({label.levels[typo]}) for {right!r}" for typo, right in [*typos.items()][:5])
    sent = f"which send {counted(rows, 'row')} to quarantine: {shown}"
    assumptions = [f"{label.shown} has misspelt values, {sent}"] if typos else []
    if not wish:
        assumptions.append(f"the task is {type(proposed.task).__name__}: choose another one with --task")
    return replace(proposed, assumptions=(*assumptions, *proposed.assumptions))


def find_typos(levels: Mapping[Level, int]) -> dict[Level, Level]:
    """Values in another case, with blanks, or rare and nearly as a frequent one, with the value that is meant."""
    typos, total = dict[Level, Level](), sum(levels.values())
    right: list[Level] = []
    for level, count in levels.items():  # the most frequent first
        plain = str(level).strip().casefold()
        same = [other for other in right if str(other).strip().casefold() == plain]
        is_rare = count <= max(2, MAX_TYPO_SHARE * total)
        frequent = [other for other in right if levels[other] >= 10 * count]
        near = difflib.get_close_matches(str(level), frequent, n=1, cutoff=0.75) if is_rare and len(plain) > 2 else []
        if same or near:
            typos[level] = (same or near)[0]
        else:
            right.append(level)
    return typos


def _require_label(label: InspectedColumn, distinct: int) -> None:
    where = f"--label · {label.header!r}"
    if distinct == 0:
        raise NoTable(f"{where} has no value in any row. Name another column, or a file with known outcomes.")
    if distinct == 1:
        raise NoTable(f"{where} has the same value in every row, so there is nothing to predict. Name another column.")
    if label.dtype in ("date", "datetime"):
        raise NoTable(f"{where} is a day or a moment; legal: yes or no, classes, or numbers. Name another column.")
    if label.dtype == "string" and distinct > MAX_CLASSES:
        raise NoTable(
            f"{where} is text with {distinct} different values; legal: at most {MAX_CLASSES} classes. Name another column."
        )


def _likely_task(label: InspectedColumn, levels: Sequence[Level]) -> str:
    if label.dtype == "bool" or len(levels) == 2:
        return "binary"
    is_code = label.dtype == "int" and 2 < len(levels) <= MAX_INT_CLASSES and max(levels) - min(levels) < 2 * len(levels)
    return "multiclass" if label.dtype == "string" or is_code else "regression"


def _binary(label: InspectedColumn, levels: Sequence[Level]) -> ProposedTask:
    if label.dtype == "bool":
        return ProposedTask(Binary(label=label.name), f"Is {label.name} true?", FLOORS["Binary"])
    if len(levels) != 2:
        found = f"{label.header!r} has {len(levels) or label.values.n_unique()} values"
        raise NoTable(f"--task · {found}, and binary needs two. Use another task, or another label.")
    if {*levels} == {0, 1}:
        return ProposedTask(Binary(label=label.name), f"Is {label.name} 1?", FLOORS["Binary"], (0, 1))
    words = [level for level in levels if str(level).lower() in YES_WORDS]
    positive = words[0] if len(words) == 1 else levels[-1]  # the rarer one
    assumption = f"{positive!r} of {label.shown} is what is predicted: change `positive` to turn it around"
    question, task = f"Is {label.name} {positive}?", Binary(label=label.name, positive=positive)
    return ProposedTask(task, question, FLOORS["Binary"], tuple(sorted(levels)), (assumption,))


def _multiclass(label: InspectedColumn, levels: Sequence[Level]) -> ProposedTask:
    if label.dtype not in ("string", "int") or not 2 <= len(levels) <= MAX_CLASSES:
        found = f"{label.header!r} is of type {label.dtype} with {label.values.n_unique()} values"
        raise NoTable(f"--task · {found}; multiclass needs 2 to {MAX_CLASSES} texts or whole numbers. Use another task.")
    classes = tuple(sorted(levels))
    question = f"Which {label.name} is it?"
    return ProposedTask(Multiclass(label=label.name, classes=classes), question, FLOORS["Multiclass"], classes)


def _regression(label: InspectedColumn, _: Sequence[Level]) -> ProposedTask:
    if label.dtype not in ("int", "float", "decimal"):
        raise NoTable(f"--task · {label.header!r} is of type {label.dtype}, and regression needs numbers. Use another task.")
    return ProposedTask(Regression(label=label.name), f"How much is {label.name}?", BETTER_THAN_THE_MEAN, no_leak=NUMBERS_LEAK)


PROPOSALS = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}
