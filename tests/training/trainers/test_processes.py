"""Networks that two processes train together, each on its half of every batch."""

import numpy as np
import pytest
import torch

from mlops_assets.spec.training import Lightning
from mlops_assets.training.imported import UnusableTrainer
from mlops_assets.training.train import fit
from tests.training.training_rows import INPUTS, training_rows

# Two halves are summed in another order than their whole, and AdamW divides by the root of a small number.
TOLERANCE = 1e-4
ROWS = training_rows()
# Nothing is drawn: neither are units left out, nor categories hidden, which each process would draw by itself.
WITHOUT_DRAWS = {**INPUTS, "categorical": []}
LIGHTNING = Lightning(hidden=(16,), batch_size=128, learning_rate=1e-2, max_epochs=4, dropout=0.0)


@pytest.mark.slow  # each process imports torch
def test_two_processes_train_the_model_that_one_trains() -> None:
    messages: list[str] = []
    alone, together = (
        fit(LIGHTNING, ROWS, **WITHOUT_DRAWS),
        fit(LIGHTNING.but(devices=2), ROWS, progress=messages.append, **WITHOUT_DRAWS),
    )
    history, expected = (np.array([[*epoch.values()] for epoch in model.history]) for model in (together, alone))
    np.testing.assert_allclose(history, expected, rtol=0, atol=TOLERANCE)
    features = alone.signature.encode(ROWS)
    np.testing.assert_allclose(together.fitted.predict(features), alone.fitted.predict(features), rtol=0, atol=TOLERANCE)
    assert [message.partition(" · ")[0] for message in messages] == ["network"] * 2, "the processes themselves are silent"


def test_more_devices_than_there_are_accelerators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    with pytest.raises(UnusableTrainer, match=r"^lightning · devices is 2, and this machine has 1\. Declare as many, or train"):
        fit(LIGHTNING.but(devices=2), ROWS, **WITHOUT_DRAWS)
