"""`mlops predict` asks a server over the network, shows its answer, and names what prevents one."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Home
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.request_rows import IllegalRow, parse_rows, sample_rows
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.serving.flights import FLIGHT, place_blessed
from tests.serving.test_client import fixed_server, running

Run = Callable[..., Result]
NAME = USE_CASE.name
PAIRS = [f"{name}={value}" for name, value in FLIGHT.items()]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name, value in {"MLOPS_ENV": "test", "MLOPS_HOME": str(tmp_path), "COLUMNS": "1000"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLOPS_API_KEY", raising=False)
    return Home(tmp_path)


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    place_blessed(home, 1, bias=0.0).point(1)
    with running(home) as (url, service):
        service.answering.slots.poll()
        monkeypatch.setenv("MLOPS_SERVICE_URL", url)
        yield lambda *arguments: CliRunner().invoke(app, ["predict", NAME, *arguments])


def test_the_answer_is_shown_and_the_curl_line_gives_the_same(run: Run) -> None:
    quoted = {**FLIGHT, "tailnum": None}
    result = run("--row", json.dumps(quoted), "--explain")
    assert result.exit_code == 0, result.output
    assert "probability" in result.output and "what each input adds to the baseline, in log-odds of yes" in result.output
    curl = result.output.splitlines()[-1]
    assert "$MLOPS_API_KEY" not in curl
    answered = json.loads(subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout)
    assert f"{answered['predictions'][0]['probability']:.6g}" in result.output and answered["predictions"][0]["explanation"]


def test_a_key_is_sent_and_its_name_alone_is_printed(
    request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = ApiKeys(home.keys).add("notebook", datetime.now(UTC), lambda: "a" * 43)
    run: Run = request.getfixturevalue("run")
    refused = run("--row", PAIRS[0], *PAIRS[1:])
    assert refused.exit_code == 1 and "HTTP 401" in refused.stderr and "no API key" in refused.stderr
    monkeypatch.setenv("MLOPS_API_KEY", token)
    answered = run("--row", PAIRS[0], *PAIRS[1:])
    assert answered.exit_code == 0, answered.output
    assert '-H "Authorization: Bearer $MLOPS_API_KEY"' in answered.output and token not in answered.output
    again = subprocess.run(["bash", "-c", answered.output.splitlines()[-1]], capture_output=True, text=True, check=True).stdout
    assert json.loads(again)["predictions"]


def test_a_refusal_names_every_row_and_field(run: Run) -> None:
    result = run("--row", json.dumps([FLIGHT, {**FLIGHT, "flight": "x", "colour": 1}]))
    assert (result.exit_code, result.stderr.splitlines()) == (1, [
        "flight_delay · the service refuses the request (HTTP 400):",
        '  row 2 · flight: found "x"; legal: a whole number from 1 to 9999, such as 1545. Correct the value.',
        "  row 2 · colour: found an unknown field; legal: carrier, dest, flight, origin, sched_dep, tailnum. Remove or rename it.",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "found neither a row nor --sample; legal: --row COLUMN=VALUE … or --sample N."),
        (["--row", "a=1", "--sample", "2"], "found both rows and --sample"),
        (["--row", "{carrier: UA}"], "--row '{carrier: UA}' · it is not JSON: Expecting property name"),
        (["--row", "[1]"], "legal: a JSON object, or a list of them."),
        (["--row", "UA"], "legal: '{\"column\": value, …}', or column=value for each column. The columns are carrier, flight"),
        (["--row", "flight=1", "flight=2"], "flight comes twice; legal: once in a row."),
    ],
)  # fmt: skip
def test_an_illegal_row_is_refused_before_anything_is_sent(home: Home, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["predict", NAME, *arguments])
    assert result.exit_code in (1, 2) and message in result.output


def test_without_an_answer_the_message_names_the_cause(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(url: str) -> str:
        monkeypatch.setenv("MLOPS_SERVICE_URL", url)
        return CliRunner().invoke(app, ["predict", NAME, "--row", PAIRS[0], *PAIRS[1:]]).stderr

    assert warning("http://127.0.0.1:9") == (
        "http://127.0.0.1:9 · no prediction service answers there. Start it with `mlops up`, or set MLOPS_SERVICE_URL to its address.\n"
    )
    assert (
        warning("loans=http://127.0.0.1:9")
        == "MLOPS_SERVICE_URL has no address of flight_delay. Add flight_delay=http://host:port to it.\n"
    )
    with running(home) as (url, _):
        assert (
            f"{url} · flight_delay is not served: no version is champion yet. `mlops status flight_delay` says what is next.\n"
            == warning(url)
        )
    with running(home, LOANS.but(features=LOANS.features.but(views=(), numeric=("amount",)))) as (url, _):
        assert f"{url} · it serves loans, not flight_delay. Add a server of flight_delay to MLOPS_SERVICE_URL" in warning(url)
    with fixed_server(200, {}, b"<html>another program</html>") as (url, _):
        assert f"{url} · no prediction service answers there." in warning(url)


def test_a_sample_is_of_the_newest_rows_or_else_of_the_examples(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    assert sample_rows(USE_CASE, tables, 3) == [
        {
            "carrier": "UA",
            "flight": 1545,
            "tailnum": "N14228",
            "origin": "EWR",
            "dest": "IAH",
            "sched_dep": "2013-07-01T14:05:00Z",
        }
    ]
    with pytest.raises(
        IllegalRow,
        match="no rows of applications are validated yet, and these columns have no example: number, customer, amount, applied_at",
    ):
        sample_rows(LOANS, tables, 1)
    days = pl.date_range(pl.date(2024, 3, 1), pl.date(2024, 3, 3), eager=True)
    path = tables.path(names.validated("loans", "applications"))
    pl.DataFrame({"day": days, "number": [1, 2, 3], "customer": ["c1", "c2", "c3"]}).write_delta(
        path, delta_write_options={"partition_by": ["day"], "configuration": {}}
    )
    sampled = sample_rows(LOANS, tables, 2)
    assert [row["number"] for row in sampled] == [3, 2] and sampled[0]["purpose"] is None


def test_a_value_has_the_type_of_its_column() -> None:
    (row,) = parse_rows(
        ["number=7", "customer=1", "amount=1e3", "purpose=", "applied_at=2024-03-01T00:00:00Z", "more=a=b"], LOANS
    )
    assert row == {
        "number": 7,
        "customer": "1",
        "amount": 1000.0,
        "purpose": None,
        "applied_at": "2024-03-01T00:00:00Z",
        "more": "a=b",
    }
