"""What each declared split owns, one class a split: SPLITS maps the declared classes to them."""

from typing import Any

from mlops_assets.spec import split as declared
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.splits.by_time import SplitByTime
from mlops_assets.training.splits.drawn import SplitAtRandom, SplitByGroup
from mlops_assets.training.splits.split import Split

SPLITS: dict[type[declared.Split], type[Split[Any]]] = {
    declared.TimeSplit: SplitByTime,
    declared.RandomSplit: SplitAtRandom,
    declared.GroupSplit: SplitByGroup,
}


def split_of(use_case: UseCase) -> Split[Any]:
    return SPLITS[type(use_case.split)](use_case.split, use_case)
