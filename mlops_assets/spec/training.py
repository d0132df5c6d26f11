"""How a candidate is trained."""

from typing import Literal

from pydantic import Field

from mlops_assets.spec.spec import Spec


class Lightning(Spec):
    """A PyTorch Lightning network with embeddings for the categories."""

    kind: Literal["lightning"] = "lightning"
    hidden: tuple[int, ...] = Field(default=(128, 64), min_length=1)
    max_epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    seed: int = 0


class HistGradientBoosting(Spec):
    """scikit-learn's histogram gradient boosting."""

    kind: Literal["hist_gradient_boosting"] = "hist_gradient_boosting"
    max_iter: int = Field(default=150, ge=1)
    learning_rate: float = Field(default=0.04, gt=0)
    max_leaf_nodes: int = Field(default=31, ge=2)
    min_samples_leaf: int = Field(default=200, ge=1)
    l2_regularization: float = Field(default=5.0, ge=0)
    seed: int = 0


Trainer = Lightning | HistGradientBoosting


class Search(Spec):
    """Optuna search with pruning over folds of the training rows: in time order, stratified or by group, as their split is."""

    trials: int = Field(default=20, ge=1)
    folds: int = Field(default=3, ge=2)
    seed: int = 0
