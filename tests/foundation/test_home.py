from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation.home import (
    LEGAL_IN_PATHS,
    PROJECT,
    Home,
    IllegalEnvironment,
    format_service_urls,
    parse_service_urls,
    read_environment,
    urls_of,
)  # fmt: skip


def test_an_empty_environment_is_local_and_shows_no_key(tmp_path: Path):
    environment = read_environment({}, tmp_path)
    assert (environment.name, environment.service_url) == ("local", "http://127.0.0.1:3000")
    assert (environment.redis_url, environment.api_key) == (None, None)


@pytest.mark.parametrize(("variables", "home"), [({}, PROJECT / ".mlops"), ({"MLOPS_HOME": "a/home"}, PROJECT / "a" / "home")])
def test_command_line_and_server_have_the_same_home_in_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], home: Path
):
    monkeypatch.chdir(tmp_path)
    assert read_environment(variables).home == read_environment(variables, PROJECT).home == Home(home)


def test_the_folders_of_a_home_have_the_names_of_their_attributes(tmp_path: Path):
    assert (Home(tmp_path).landing, Home(tmp_path).logs) == (tmp_path / "landing", tmp_path / "logs")


@pytest.mark.parametrize(("value", "key"), [("", None), ("\n", None), ("mlops_abc", "mlops_abc"), ("mlops_abc\n", "mlops_abc")])
def test_an_api_key_is_read_as_secrets_are_mounted_and_never_printed(tmp_path: Path, value: str, key: str | None):
    environment = read_environment({"MLOPS_API_KEY": value}, tmp_path)
    assert environment.api_key == key and "mlops_abc" not in repr(environment)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MLOPS_ENV": "staging"}, "found 'staging'; legal: local, test, production"),
        ({"MLOPS_ENV": "production"}, "MLOPS_HOME · not set"),
        ({"MLOPS_ONLINE_STORE": "postgres://x"}, "legal: sqlite, redis://host:port/0"),
        (
            {"MLOPS_MLFLOW_STORE": "mysql://user:sesame@host/db"},
            "MLOPS_MLFLOW_STORE · found another address, not shown as it may contain a password; legal: postgresql://",
        ),
        (
            {"MLOPS_LEDGER": "mysql://user:sesame@host/db"},
            "MLOPS_LEDGER · found another address, .*legal: postgresql://user:password@host/database",
        ),
        ({"MLOPS_LEDGER": "sqlite:///ledger.db"}, "MLOPS_LEDGER · found another address"),
    ],
)
def test_an_illegal_environment_is_refused_with_what_is_legal(tmp_path: Path, variables: dict[str, str], message: str):
    with pytest.raises(IllegalEnvironment, match=message):
        read_environment(variables, tmp_path)


def test_the_ledger_is_stored_under_the_home_unless_a_postgres_is_configured(tmp_path: Path):
    assert read_environment({"MLOPS_HOME": str(tmp_path)}).ledger_url == f"sqlite:///{tmp_path / 'ledger.db'}"
    assert read_environment({"MLOPS_HOME": "/a+b", "MLOPS_LEDGER": ""}).ledger_url == "sqlite:////a%2Bb/ledger.db"


def test_the_address_of_a_postgres_is_read_as_secrets_are_mounted_and_never_printed(tmp_path: Path):
    environment = read_environment({"MLOPS_LEDGER": "postgresql://user:sesame@host/db\n"}, tmp_path)
    assert environment.ledger_url == "postgresql://user:sesame@host/db" and "sesame" not in repr(environment)
    with pytest.raises(IllegalEnvironment) as refused:
        read_environment({"MLOPS_LEDGER": "postgres://user:sesame@host/db"}, tmp_path)
    assert "sesame" not in str(refused.value)


def test_the_first_address_is_the_replica_that_the_platform_calls(tmp_path: Path):
    environment = read_environment({"MLOPS_SERVICE_URL": "http://a:3000, http://b:3000,"}, tmp_path)
    assert environment.service_url == "http://a:3000"
    assert [*urls_of(environment.service_urls, "loans")] == ["http://a:3000", "http://b:3000"]


@pytest.mark.parametrize(
    ("text", "flights", "loans"),
    [
        ("", ["http://127.0.0.1:3000"], ["http://127.0.0.1:3000"]),
        (" ; ", ["http://127.0.0.1:3000"], ["http://127.0.0.1:3000"]),
        ("flight_delay=http://a,http://b;loans=https://c/x", ["http://a", "http://b"], ["https://c/x"]),
        ("loans = http://c ; http://a, http://b;", ["http://a", "http://b"], ["http://c"]),
        ("flight_delay=http://a", ["http://a"], []),
    ],
)
def test_each_use_case_has_its_own_addresses_or_those_of_all(tmp_path: Path, text: str, flights: list[str], loans: list[str]):
    urls = read_environment({"MLOPS_SERVICE_URL": text}, tmp_path).service_urls
    assert [[*urls_of(urls, name)] for name in ("flight_delay", "loans")] == [flights, loans]
    assert parse_service_urls(format_service_urls(urls)) == urls


@pytest.mark.parametrize(
    "text",
    ["localhost:3000", "loans=", "=http://a", "Loans=http://a", "loans=http://a,b", "loans=http://a;loans=http://b", "http://a;http://b",
     "http://a;;loans=http://b", "loans=http://a;ftp://b", "loans=http://a=b"],
)  # fmt: skip
def test_an_illegal_address_is_refused_with_what_is_legal(tmp_path: Path, text: str):
    with pytest.raises(
        IllegalEnvironment, match=r"^MLOPS_SERVICE_URL · found .*; legal: http://host:port of all use cases, or prices"
    ):
        read_environment({"MLOPS_SERVICE_URL": text}, tmp_path)


def test_a_server_has_the_prefix_of_the_addresses_of_its_use_case(tmp_path: Path):
    environment = read_environment({"MLOPS_SERVICE_URL": "flight_delay=http://a/flights/;loans=http://b"}, tmp_path)
    assert [environment.path_prefix_of(name) for name in ("flight_delay", "loans")] == ["/flights", ""]


def test_use_cases_are_listed_or_all_are_meant(tmp_path: Path):
    read = [read_environment({"MLOPS_USE_CASE": text}, tmp_path).use_cases for text in ("", " ,", "loans", "a, b,a")]
    assert read == [(), (), ("loans",), ("a", "b")]


@pytest.mark.parametrize("name", ["my home", "jörg", "50%", "a#b", "[x]"])
def test_a_home_whose_path_no_table_can_have_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(IllegalEnvironment, match="its path contains .*, with which Delta tables cannot be read; legal: letters"):
        read_environment({"MLOPS_HOME": str(tmp_path / name)}, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_tables_are_read_from_a_path_with_every_legal_character(tmp_path: Path) -> None:
    rows, folder = pl.DataFrame({"a": [1]}), tmp_path / f"aZ9-._~{LEGAL_IN_PATHS}"
    assert read_environment({"MLOPS_HOME": str(folder)}, tmp_path).home.root == folder
    folder.mkdir(parents=True)
    rows.write_delta(str(folder / "table.delta"))
    assert pl.scan_delta(str(folder / "table.delta")).collect().equals(rows)


@pytest.mark.parametrize("name", ["my home", "jörg", "50%"])
def test_polars_cannot_read_tables_of_such_paths_yet(tmp_path: Path, name: str) -> None:
    """When this fails, the path is legal: remove it from what read_environment refuses."""
    (tmp_path / name).mkdir()
    pl.DataFrame({"a": [1]}).write_delta(str(tmp_path / name / "table.delta"))
    with pytest.raises(FileNotFoundError):
        pl.scan_delta(str(tmp_path / name / "table.delta")).collect()
