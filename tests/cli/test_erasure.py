"""`mlops forget` as people use it, on a real home."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import mlops_assets.cli.arguments
from mlops_assets.cli.app import app
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.ledger import Ledger
from tests.erasure.shop import CUSTOMER, FIRST, ONE, REPO, SHOP, environment_of, orders

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The commands of a project that declares the shop, with one landed file."""
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / "feature_repo" / "declared.py").write_text(REPO)
    monkeypatch.setattr(mlops_assets.cli.arguments, "USE_CASES", (SHOP,))
    (tmp_path / "pyproject.toml").write_text('[tool.mlops]\nuse_cases = "shop"\n')
    monkeypatch.setenv("MLOPS_PROJECT", str(tmp_path))
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    Landing(tmp_path / "home" / "landing").put("shop", "orders", day=FIRST, rows=orders(FIRST))
    return lambda *arguments: CliRunner().invoke(app, ["forget", *arguments])


def test_a_customer_is_counted_then_erased_and_then_not_found(run: Run, tmp_path: Path) -> None:
    ledger = Ledger(environment_of(tmp_path).ledger_url)
    dry_run = run("shop", f"customer_id={ONE}", "--dry-run")
    assert dry_run.exit_code == 0, dry_run.output
    assert dry_run.output.splitlines() == [
        "3 rows would be erased:",
        "  landing/orders        3",
        *dry_run.output.splitlines()[2:],
    ]
    assert dry_run.output.splitlines()[-1] == "Nothing was changed: --dry-run."
    assert ledger.records("shop") == []
    done = run("shop", f"customer_id={ONE}", "--because", "letter of 3 May", "--by", "Ada")
    assert done.exit_code == 0, done.output
    assert "3 rows erased:" in done.output and "Ledger record 1." in done.output
    assert ONE not in done.output
    (record,) = ledger.records("shop")
    assert (record.by, record.body["why"], record.body["rows"]) == ("Ada", "letter of 3 May", {"landing/orders": 3})
    again = run("shop", f"customer_id={ONE}")
    assert (again.exit_code, again.output) == (0, "No row was found anywhere.\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("shop", "city=Ulm"), f"column 'city' identifies nothing; legal: {CUSTOMER.name}=<customer>. Use one of these"),
        (("shop", "customer_id="), "the value is missing"),
        (("store", "customer_id=1"), "use case 'store' is not declared"),
    ],
)
def test_an_illegal_subject_is_refused_with_the_legal_ones(
    run: Run, tmp_path: Path, arguments: tuple[str, str], problem: str
) -> None:
    refused = run(*arguments)
    assert refused.exit_code != 0
    assert problem in " ".join(refused.output.replace("│", " ").split())
    assert Ledger(environment_of(tmp_path).ledger_url).records("shop") == []


def test_nothing_is_erased_while_the_ledger_is_down(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_LEDGER", "postgresql://nobody:secret@127.0.0.1:9/none")
    refused = run("shop", f"customer_id={ONE}")
    assert refused.exit_code == 1 and "secret" not in refused.output
    assert "ledger" in refused.output
    assert ONE in Landing(tmp_path / "home" / "landing").path("shop", "orders", FIRST).read_text()
