"""How a candidate is trained."""

import sys
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue

from mlops_assets.spec.spec import Seed, Spec

TRAINERS = "mlops_assets.training.trainers"


class Range(Spec):
    """Numbers that a search tries, whole ones where both ends are; `log` spaces them by ratio."""

    low: int | float
    high: int | float
    log: bool = False

    def contradictions(self) -> Iterator[str]:
        if self.low >= self.high or (self.log and self.low <= 0):
            yield f"{self.low} to {self.high}; legal: low < high{', both above 0' * self.log}. Correct them."


Space = Mapping[str, Range | tuple[Any, ...]]


def import_path(value: Any) -> Any:
    """`package.module:Class` of a class; other values as they are."""
    if not isinstance(value, type):
        return value
    parents = [*accumulate(value.__module__.split("."), "{}.{}".format)]
    # The shortest name under which it is public: sklearn.linear_model rather than sklearn.linear_model._logistic.
    public = (name for name in parents if getattr(sys.modules.get(name), value.__qualname__, None) is value)
    return f"{next(public, value.__module__)}:{value.__qualname__}"


ImportPath = Annotated[str, BeforeValidator(import_path), Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Arguments = dict[str, JsonValue]


class Trainer(Spec):
    """One kind of training, also outside this package: a subclass, and a module with a function `train` (docs/trainers.md).

    The first of MODULES has `train`; all of them shape the model, and are recorded with it. Without MODULES it is the module of
    the class. LIBRARIES are the distributions whose versions are recorded, EXTRA is what `pip install mlops-assets[...]` calls
    them, and LOGO the name of the first one's icon in the web UI.
    """

    MODULES: ClassVar[tuple[str, ...]] = ()
    LIBRARIES: ClassVar[tuple[str, ...]] = ()
    EXTRA: ClassVar[str] = ""
    LOGO: ClassVar[str] = ""

    kind: str

    @property
    def modules(self) -> tuple[str, ...]:
        return self.MODULES or (type(self).__module__,)

    @property
    def logo(self) -> str:
        return self.LOGO or self.kind

    def space(self) -> Space:
        """What a search varies, by field: a range, or the options. It contains what is declared."""
        return {}

    def value(self, name: str) -> Any:
        """What is declared for a name of `space`."""
        return getattr(self, name)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """The same trainer with other values of `space`."""
        return self.but(**values)

    def contradictions(self) -> Iterator[str]:
        if "__main__" in self.modules:
            yield "it is declared in the program that runs, which no other process can import. Declare it in a module."


def _rate(rate: float) -> Range:
    return Range(low=rate / 4, high=rate * 4, log=True)


def _penalty(penalty: float) -> Range:
    return Range(low=0.0, high=max(10.0, 2 * penalty))


def _around(value: int, least: int) -> Range:
    return Range(low=max(least, value // 2), high=value * 2, log=True)


class Lightning(Trainer):
    """A PyTorch Lightning network with embeddings for the categories, trained by a process on each of `devices`."""

    MODULES = (f"{TRAINERS}.lightning", f"{TRAINERS}.network")
    LIBRARIES = ("torch", "pytorch-lightning", "onnxscript")
    LOGO = "pytorchlightning"

    kind: Literal["lightning"] = "lightning"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 64), min_length=1)
    max_epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    devices: int = Field(default=1, ge=1)
    seed: Seed = 0

    def space(self) -> Space:
        widths = tuple(tuple(max(1, round(size * width)) for size in self.hidden) for width in (0.5, 1.0, 2.0))
        rate = _rate(self.learning_rate)
        return {"learning_rate": rate, "hidden": widths, "dropout": Range(low=0.0, high=max(0.6, self.dropout))}


class HistGradientBoosting(Trainer):
    """scikit-learn's histogram gradient boosting. Where 20 leaves of `min_samples_leaf` rows do not fit, they are smaller."""

    MODULES = (f"{TRAINERS}.boosting", f"{TRAINERS}.estimator")
    LIBRARIES = ("scikit-learn", "skl2onnx")
    LOGO = "scikitlearn"

    kind: Literal["hist_gradient_boosting"] = "hist_gradient_boosting"  # pyright: ignore[reportIncompatibleVariableOverride]
    max_iter: int = Field(default=150, ge=1)
    learning_rate: float = Field(default=0.04, gt=0)
    max_leaf_nodes: int = Field(default=31, ge=2)
    min_samples_leaf: int = Field(default=200, ge=1)
    l2_regularization: float = Field(default=5.0, ge=0)
    seed: Seed = 0

    def space(self) -> Space:
        return {
            "learning_rate": _rate(self.learning_rate),
            "max_iter": _around(self.max_iter, 1),
            "max_leaf_nodes": _around(self.max_leaf_nodes, 2),
            "min_samples_leaf": _around(self.min_samples_leaf, 1),
            "l2_regularization": _penalty(self.l2_regularization),
        }


class LightGBM(Trainer):
    """LightGBM's trees, until the validation loss has not fallen for `patience` iterations. Where 20 leaves of `min_data_in_leaf`
    rows do not fit, they are smaller.
    """

    MODULES = (f"{TRAINERS}.lightgbm", f"{TRAINERS}.estimator")
    LIBRARIES = ("lightgbm", "onnxmltools")
    EXTRA = LOGO = "lightgbm"

    kind: Literal["lightgbm"] = "lightgbm"  # pyright: ignore[reportIncompatibleVariableOverride]
    max_iterations: int = Field(default=500, ge=1)
    patience: int = Field(default=30, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    num_leaves: int = Field(default=31, ge=2)
    min_data_in_leaf: int = Field(default=100, ge=1)
    lambda_l2: float = Field(default=1.0, ge=0)
    feature_fraction: float = Field(default=0.9, gt=0, le=1)
    seed: Seed = 0

    def space(self) -> Space:
        return {
            "learning_rate": _rate(self.learning_rate),
            "num_leaves": _around(self.num_leaves, 2),
            "min_data_in_leaf": _around(self.min_data_in_leaf, 1),
            "lambda_l2": _penalty(self.lambda_l2),
            "feature_fraction": Range(low=min(0.5, self.feature_fraction), high=1.0),
        }


class Imported(Trainer):
    """A trainer that builds a class of another module from `arguments`, of which a search varies those in `ranges`."""

    PATH: ClassVar[str]  # the field with the import path of the class

    arguments: Arguments = Field(default_factory=dict)
    ranges: dict[str, Range] = Field(default_factory=dict[str, Range])

    @property
    def path(self) -> str:
        return getattr(self, self.PATH)

    @property
    def modules(self) -> tuple[str, ...]:
        return (*super().modules, self.path.partition(":")[0])

    def space(self) -> Space:
        return self.ranges

    def value(self, name: str) -> Any:
        return self.arguments[name]

    def with_values(self, values: Mapping[str, Any]) -> Self:
        return self.but(arguments={**self.arguments, **values})

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        for name, span in self.ranges.items():
            value = self.arguments.get(name)
            if not isinstance(value, int | float) or not span.low <= value <= span.high:
                legal = f"legal: a number from {span.low} to {span.high} in arguments, where the search begins"
                yield f"ranges · {name!r} is {value!r}; {legal}. Declare it there."


class SklearnEstimator(Imported):
    """Any classifier (Binary, Multiclass) or regressor (Regression) with scikit-learn's interface that skl2onnx exports: its
    class, or better `"sklearn.linear_model:LogisticRegression"`, which imports nothing when the declaration loads. It gets
    numbers as standard scores, the mean where one is missing and a flag for that, and a flag for each value of each category.
    """

    MODULES = (f"{TRAINERS}.sklearn", f"{TRAINERS}.estimator")
    LIBRARIES = ("scikit-learn", "skl2onnx")
    LOGO = "scikitlearn"
    PATH = "estimator"

    kind: Literal["sklearn_estimator"] = "sklearn_estimator"  # pyright: ignore[reportIncompatibleVariableOverride]
    estimator: ImportPath
    seed: Seed = 0


class OwnLightning(Imported):
    """A LightningModule of your own: `"my_package.net:Net"`, or the class. docs/trainers.md has what it gets and returns.
    It is trained by a process on each of `devices`.
    """

    MODULES = (f"{TRAINERS}.own_lightning", f"{TRAINERS}.lightning", f"{TRAINERS}.network")
    LIBRARIES = ("torch", "pytorch-lightning", "onnxscript")
    LOGO = "pytorchlightning"
    PATH = "module"

    kind: Literal["own_lightning"] = "own_lightning"  # pyright: ignore[reportIncompatibleVariableOverride]
    module: ImportPath
    max_epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    devices: int = Field(default=1, ge=1)
    seed: Seed = 0


BUILT_IN: Mapping[str, type[Trainer]] = {
    str(one.model_fields["kind"].default): one
    for one in (Lightning, HistGradientBoosting, LightGBM, SklearnEstimator, OwnLightning)
}


class Search(Spec):
    """Optuna search with pruning over folds of the training rows: in time order, stratified or by group, as their split is."""

    trials: int = Field(default=20, ge=1)
    folds: int = Field(default=3, ge=2)
    seed: Seed = 0
