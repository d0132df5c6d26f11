"""`mlops alerts` tries every address, and names the one that fails without its secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from tests.graph.line import variables
from tests.servers.inbox import Inbox, open_inbox


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def run(monkeypatch: pytest.MonkeyPatch, home: Path, addresses: str) -> Result:
    (home / "landing").mkdir(parents=True, exist_ok=True)
    for name, text in {**variables(home), "MLOPS_ALERTS": addresses}.items():
        monkeypatch.setenv(name, text)
    return CliRunner().invoke(app, ["alerts"])


def test_a_message_arrives_at_every_address(tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, tmp_path, f"{inbox.mail_address}\n{inbox.web_address}\n")
    assert result.exit_code == 0 and result.output.count(": taken") == 2, result.output
    assert [mail["Subject"] for mail in inbox.mails] == ["mlops-assets: a test"] and len(inbox.posts) == 1
    assert "a test" in (tmp_path / "logs" / "alerts.log").read_text()


def test_an_address_that_takes_none_is_named_without_its_secret(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.is_down = True
    result = run(monkeypatch, tmp_path, inbox.web_address)
    assert result.exit_code == 1 and "NOT taken" in result.output and "sesame" not in result.output


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("pigeon://sesame", "address 1 begins with 'pigeon', and is not one that Apprise knows"),
        ("sesame", "address 1 has no ://"),
    ],
)
def test_an_unknown_address_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str) -> None:
    result = run(monkeypatch, tmp_path, address)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert message in " ".join(result.output.split()) and "sesame" not in result.output
