"""Loans next to the flights: requests, tiny models and features in memory of a second use case."""

from typing import Any

from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.features.request_features import Columns
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.signature import Signature
from tests.cli.loans import LOANS
from tests.serving.flights import DirectDeployment, blessed, tiny_model

SIGNATURE = Signature(("amount", "last_paid"), {"purpose": ("car", "home")})
LOAN: dict[str, Any] = {
    "number": 1, "customer": "c1", "amount": 80.0, "purpose": "car", "applied_at": "2024-03-02T10:00:00Z",
}  # fmt: skip


def place_loan_model(home: Home, version: int, bias: float, *, size: int = 0, use_case: UseCase = LOANS) -> DirectDeployment:
    """sigmoid(amount / 100 + bias), blessed, in no plan yet; slow by its `size`."""
    deployment, model = (
        DirectDeployment(home.deployments, use_case.name),
        tiny_model(bias, signature=SIGNATURE, scored="amount", size=size),
    )
    deployment.place(version, model, blessed(version, model, SigningKeys(home.keys), use_case=use_case.name).to_json())
    return deployment


def look_up_payments(columns: Columns) -> LookupResult:
    """No customer has a payment yet."""
    rows = len(columns["customer"])
    return LookupResult({"last_paid": [None] * rows}, ["online"] * rows, [None] * rows, [[("last_payment", "unknown")]] * rows)
