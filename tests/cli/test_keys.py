"""`mlops keys` as people use it, on a real home."""

import asyncio
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.serving.http.admission import Admission
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.request import Refusal, RequestParser
from mlops_assets.spec.serving import Limits
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["keys", *arguments])


def added(run: Run, name: str) -> str:
    result = run("add", name)
    assert result.exit_code == 0, result.output
    (token,) = re.findall(r"^  (mlops_\S+)$", result.output, re.MULTILINE)
    return token


def admit(home: Path, token: str) -> str:
    admission = Admission(ApiKeys(home / "keys"), Limits(), use_case=USE_CASE.name, clock=monotonic, is_open=False)
    return asyncio.run(admission.admit([(b"authorization", f"Bearer {token}".encode())]))


def test_a_printed_token_is_accepted_until_its_key_is_revoked(run: Run, tmp_path: Path):
    shop, app_ = added(run, "shop"), added(run, "app")
    assert len(shop) == len("mlops_") + 43
    assert (admit(tmp_path, shop), admit(tmp_path, app_)) == ("shop", "app")
    assert "Active keys: app." in run("revoke", "shop").output
    with pytest.raises(Refusal):
        admit(tmp_path, shop)
    assert admit(tmp_path, app_) == "app"


@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.name)
def test_the_line_to_try_is_a_whole_legal_request(run: Run, use_case: UseCase):
    (line,) = [line for line in run("add", "shop", "--use-case", use_case.name).output.splitlines() if "curl" in line]
    command = shlex.split(line)
    assert command[:3] == ["curl", "-s", f"http://127.0.0.1:3000/{use_case.name}/predict"]
    assert re.fullmatch(r"Authorization: Bearer mlops_\S+", command[command.index("-H") + 1])
    assert "Content-Type: application/json" in command, "curl sends a form's type otherwise, which is refused"
    assert len(RequestParser(use_case)(command[command.index("-d") + 1].encode())) == 1


def test_the_first_key_says_what_needs_a_key_now_and_what_does_not(run: Run):
    first = run("add", "shop").output
    assert (
        "servers of this home refuse /predict without a key" in first
        and "/plan, /metrics and the health checks need no key" in first
    )
    assert "first key" not in run("add", "app").output


def test_the_list_shows_names_and_times_and_never_a_token(run: Run):
    token = added(run, "shop")
    added(run, "app")
    run("revoke", "app")
    listed = run("list").output
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(rf"^shop +created {moment} · active · all use cases · SHA-256 [0-9a-f]{{8}}…$", listed, re.MULTILINE)
    assert re.search(rf"^app +created {moment} · revoked {moment} · all use cases · SHA-256", listed, re.MULTILINE)
    assert token not in listed


@pytest.mark.parametrize(("environment", "effect"), [("test", "served without a key"), ("production", "refused")])
def test_an_empty_list_says_what_that_means(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, effect: str
):
    (tmp_path / "landing").mkdir()
    monkeypatch.setenv("MLOPS_ENV", environment)
    assert f"MLOPS_ENV={environment} every /predict is {effect}" in run("list").output


def test_revoking_the_last_key_says_that_every_request_is_refused(run: Run):
    added(run, "shop")
    assert "none, so every /predict is refused" in run("revoke", "shop").output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["add", "shop"], "the name 'shop' is in use"),
        (["add", "My Shop"], "legal: 1 to 63"),
        (["revoke", "app"], "no active key has the name 'app'; active: shop"),
    ],
)
def test_an_impossible_change_is_one_line_on_stderr(run: Run, arguments: list[str], problem: str):
    added(run, "shop")
    result = run(*arguments)
    assert result.exit_code == 1
    assert problem in result.output
    assert len(result.output.splitlines()) == 1


def test_a_damaged_file_and_an_illegal_environment_are_one_line_on_stderr(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "api_keys.json").write_text("[")
    for arguments in (["add", "shop"], ["list"], ["revoke", "shop"]):
        result = run(*arguments)
        assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
        assert "cannot be read as API keys" in result.output
    monkeypatch.setenv("MLOPS_ENV", "staging")
    assert "MLOPS_ENV · found 'staging'" in run("list").output


def test_a_key_is_limited_to_use_cases_and_the_list_shows_them(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE, LOANS))
    monkeypatch.setenv("MLOPS_SERVICE_URL", "flight_delay=http://a:1;loans=http://b:2/x/")
    first = run("add", "shop", "--use-case", "loans")
    assert "Created key 'shop', valid for loans." in first.output and "http://b:2/x/loans/predict" in first.output
    both = run("add", "app", "--use-case", "flight_delay", "--use-case", "loans", "--use-case", "loans")
    assert "valid for flight_delay, loans." in both.output and "http://a:1/flight_delay/predict" in both.output
    assert "valid for all use cases" in run("add", "any").output
    listed = run("list").output
    assert [line.split(" · ")[2] for line in listed.splitlines()] == ["loans", "flight_delay, loans", "all use cases"]
    (token,) = re.findall(r"^  (mlops_\S+)$", first.output, re.MULTILINE)
    with pytest.raises(Refusal, match="403: an API key of loans"):
        admit(tmp_path, token)


def test_a_key_of_an_undeclared_use_case_is_refused_and_not_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "1000")
    refused = run("add", "shop", "--use-case", "fligth_delay")
    assert refused.exit_code == 2 and "declared: " + ", ".join(use_case.name for use_case in USE_CASES) in refused.output
    assert ApiKeys(tmp_path / "keys").entries() == []


def test_where_no_use_case_loads_no_key_is_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", ())
    monkeypatch.setenv("COLUMNS", "1000")
    refused = run("add", "shop")
    assert refused.exit_code == 2 and "no use case loads" in refused.output
    assert ApiKeys(tmp_path / "keys").entries() == []
