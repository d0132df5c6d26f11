"""`mlops export` and `mlops import`: from the home where a version was trained to one where it was not."""
# ruff: noqa: F811 - fixtures of another module

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.promotion_state import promotion_state_of
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys, read_public
from mlops_assets.promotion.transfer import Export, UnusableExport
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.split import RandomSplit
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.training.model_registry import ModelRegistry
from tests.cli.test_train import SMALL, declare, template_home  # noqa: F401

pytestmark = pytest.mark.slow
NAME, MODEL = SMALL.name, names.registered_model(SMALL.name)
On = Callable[..., Result]


def command(home: Path, *arguments: str, environment: str = "test") -> Result:
    variables = {"MLOPS_HOME": str(home), "MLOPS_ENV": environment, "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    return CliRunner(env=variables).invoke(app, [*arguments])


@pytest.fixture(scope="module")
def trained(template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose version 1 serves."""
    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("trained") / "home"))
    with pytest.MonkeyPatch.context() as patch:
        declare(SMALL, patch)
        result = command(home, "train", NAME, "--because", "the first", "--by", "ana")
    assert result.exit_code == 0, result.output
    yield home


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(SMALL, monkeypatch)


@pytest.fixture
def file(trained: Path, tmp_path: Path) -> Path:
    result = command(trained, "export", NAME, str(tmp_path / "tumor.export"))
    assert result.exit_code == 0, result.output
    return tmp_path / "tumor.export"


def key_of(home: Path) -> Path:
    keys = Home(home).keys
    return keys / "public" / f"{SigningKeys(keys).current()}.pem"


def take_over(home: Path, file: Path, key: Path) -> Result:
    return command(home, "import", NAME, str(file), "--key", str(key), "--by", "ben", environment="production")


def records(home: Path) -> list[Record]:
    return Ledger(f"sqlite:///{Home(home).ledger}").records(NAME)


def test_a_version_is_taken_over_with_its_evidence_and_serves_by_the_rules_of_the_other_environment(
    trained: Path, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "staging"
    result = take_over(other, file, key_of(trained))
    assert (result.exit_code, result.output) == (0, "tumor: version 1 of test is blessed here as version 1.\n")
    registry, origin = ModelRegistry(Home(other).mlflow), ModelRegistry(Home(trained).mlflow)
    assert registry.load(MODEL, 1) == origin.load(MODEL, 1) and registry.files(MODEL, 1) == origin.files(MODEL, 1)
    (record,) = records(other)
    blessing, there = Blessing.from_json(record.body["blessing"]), records(trained)[0]
    assert (record.kind, record.by, blessing.key_id) == ("blessing", "ben", SigningKeys(Home(other).keys).current())
    assert record.body["gates"] == there.body["gates"] and record.body["evaluation_digest"] == there.body["evaluation_digest"]
    assert {name: value for name, value in blessing.training.items() if name.startswith("imported.")} == {
        "imported.environment": "test",
        "imported.version": "1",
        "imported.record": there.digest,
        "imported.key_id": Blessing.from_json(there.body["blessing"]).key_id,
    }
    assert take_over(other, file, key_of(trained)).exit_code == 0 and len(records(other)) == 1, "again changes nothing"
    command(other, "promote", NAME, "1", "--why", "seen in test")
    plan = Deployment(Home(other).deployments, NAME).plan()
    assert plan is not None and plan.digests == {1: blessing.model_digest}


def test_an_imported_version_gets_the_next_number_of_its_environment(
    trained: Path, file: Path, template_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(template_home, tmp_path / "staging"))
    with monkeypatch.context() as patch:
        declare(SMALL.but(trainer=HistGradientBoosting(max_iter=9)), patch)
        assert command(other, "train", NAME, "--because", "its own").exit_code == 0
    result = take_over(other, file, key_of(trained))
    assert result.output == "tumor: version 1 of test is blessed here as version 2.\n"
    assert Deployment(Home(other).deployments, NAME).load(2)[0] == ModelRegistry(Home(trained).mlflow).load(MODEL, 1)
    plan, state = Deployment(Home(other).deployments, NAME).plan(), promotion_state_of(NAME, records(other))
    assert plan is not None and plan.champion == 1 and state.waiting == 2, "its rollout begins at the next look of the platform"


def test_an_imported_version_of_high_risk_waits_for_an_approval_of_this_environment(
    trained: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(SMALL.but(risk="high"), monkeypatch)
    result = take_over(tmp_path / "staging", file, key_of(trained))
    assert result.output.endswith("It waits for `mlops approve tumor 1 --why …`.\n")
    refused = command(tmp_path / "staging", "promote", NAME, "1", "--why", "now")
    assert refused.exit_code == 1 and "version 1 waits for an approval, as its risk is high" in refused.output


def test_an_altered_export_is_refused_and_nothing_is_created(trained: Path, file: Path, tmp_path: Path) -> None:
    content, key, draw = file.read_bytes(), read_public(key_of(trained)), random.Random(5)
    whole = Export.from_bytes(content, key)
    noticed = 0
    for _ in range(300):
        place, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
        altered = bytearray(content)
        altered[place] ^= bit
        try:
            assert Export.from_bytes(bytes(altered), key) == whole, "only what ZIP itself ignores, such as a date"
        except UnusableExport:
            noticed += 1
    assert noticed > 200
    file.write_bytes(content[: len(content) // 2])
    result = take_over(tmp_path / "staging", file, key_of(trained))
    assert result.exit_code == 1 and "export · not a file of `mlops export`, or cut short" in result.output
    assert not (tmp_path / "staging").exists()


def test_a_file_of_another_environment_than_the_key_is_refused(trained: Path, file: Path, tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path / "strange")
    keys.private()
    result = take_over(tmp_path / "staging", file, tmp_path / "strange" / "public" / f"{keys.current()}.pem")
    signer = SigningKeys(Home(trained).keys).current()
    assert f"export · {signer} signed it, and the given key is {keys.current()}. Pass keys/public/{signer}.pem" in result.output
    file_of_no_key = take_over(tmp_path / "staging", file, file)
    assert "legal: an Ed25519 key in PEM. Pass a file of its keys/public." in file_of_no_key.output
    assert {result.exit_code, file_of_no_key.exit_code} == {1} and not (tmp_path / "staging").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"gates": (Floor(metric="auc", bound=0.9),)}, "gates, slices and task"),
        ({"split": RandomSplit(seed=9)}, "features, label and split"),
    ],
)
def test_a_difference_between_the_declarations_is_named(
    trained: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], part: str
) -> None:
    declare(SMALL.but(**change), monkeypatch)
    result = take_over(tmp_path / "staging", file, key_of(trained))
    assert result.exit_code == 1 and f"tumor · version 1 of test · declared otherwise here: {part}. Deploy" in result.output


def refuse(home: Path, at: datetime, **evidence: str) -> None:
    keys, deployment = SigningKeys(Home(home).keys), Deployment(Home(home).deployments, NAME)
    promotions = Promotions(SMALL, Ledger(f"sqlite:///{Home(home).ledger}"), deployment, keys)
    promotions.refuse(1, reason="auc is 0.4, below 0.9.", by="run 12345678", at=at, evidence=evidence)


def test_a_model_that_was_refused_is_not_blessed_by_a_second_import_of_the_same_file(
    trained: Path, file: Path, tmp_path: Path
) -> None:
    other, key = tmp_path / "staging", key_of(trained)
    take_over(other, file, key)
    at = datetime.now(UTC)
    refuse(other, at)
    again = take_over(other, file, key)
    assert again.exit_code == 1 and [record.kind for record in records(other)] == ["blessing", "refusal"]
    assert again.output == (
        f"tumor · version 1 of test · this model is version 1 here, which run 12345678 refused at {at:%Y-%m-%d %H:%M} UTC: auc is "
        "0.4, below 0.9. Its evaluation there is older than this refusal. Evaluate it there again on newer data and export it "
        "anew, change the gates in both, or train another version.\n"
    )


@pytest.mark.parametrize(
    ("age", "evidence"),
    [
        (timedelta(days=1), {}),
        (timedelta(), {"code.evaluation": "of other gates"}),
        (timedelta(), {"model_digest": "of another model"}),
    ],
    ids=["evaluated since", "other gates", "another model"],
)
def test_a_refusal_of_other_evidence_does_not_hold(
    trained: Path, file: Path, tmp_path: Path, age: timedelta, evidence: dict[str, str]
) -> None:
    other, key = tmp_path / "staging", key_of(trained)
    take_over(other, file, key)
    refuse(other, datetime.now(UTC) - age, **evidence)
    assert take_over(other, file, key).exit_code == 0
    assert [record.kind for record in records(other)] == ["blessing", "refusal", "blessing"]


def test_only_a_blessed_version_is_exported(trained: Path, tmp_path: Path) -> None:
    result = command(trained, "export", NAME, str(tmp_path / "file"), "--version", "7")
    assert result.exit_code == 1 and "tumor · version 7 has no blessing in the ledger; blessed: 1." in result.output
    assert not (tmp_path / "file").exists()
