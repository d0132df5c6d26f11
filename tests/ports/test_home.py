from pathlib import Path

import pytest

from mlops_assets.ports.home import IllegalEnvironment, read_environment


def test_an_empty_environment_is_local_and_shows_no_key(tmp_path: Path):
    found = read_environment({}, tmp_path)
    assert (found.name, found.home.root, found.service_url) == ("local", tmp_path / ".mlops", "http://127.0.0.1:3000")
    assert (found.redis_url, found.api_key) == (None, None)


@pytest.mark.parametrize(("said", "found"), [("", None), ("\n", None), ("mlops_abc", "mlops_abc"), ("mlops_abc\n", "mlops_abc")])
def test_an_api_key_is_read_as_secrets_are_mounted_and_never_printed(tmp_path: Path, said: str, found: str | None):
    environment = read_environment({"MLOPS_API_KEY": said}, tmp_path)
    assert environment.api_key == found and "mlops_abc" not in repr(environment)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MLOPS_ENV": "staging"}, "found 'staging'; legal: local, test, production"),
        ({"MLOPS_ENV": "production"}, "MLOPS_HOME · not set"),
        ({"MLOPS_ONLINE_STORE": "postgres://x"}, "legal: sqlite, redis://host:port/0"),
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


def test_the_ledger_lies_below_the_home_unless_a_postgres_is_named(tmp_path: Path):
    assert read_environment({}, tmp_path).ledger_url == f"sqlite:///{tmp_path / '.mlops' / 'ledger.db'}"
    assert read_environment({"MLOPS_LEDGER": ""}, Path("/a b")).ledger_url == "sqlite:////a%20b/.mlops/ledger.db"


def test_the_address_of_a_postgres_is_read_as_secrets_are_mounted_and_never_printed(tmp_path: Path):
    environment = read_environment({"MLOPS_LEDGER": "postgresql://user:sesame@host/db\n"}, tmp_path)
    assert environment.ledger_url == "postgresql://user:sesame@host/db" and "sesame" not in repr(environment)
    with pytest.raises(IllegalEnvironment) as refused:
        read_environment({"MLOPS_LEDGER": "postgres://user:sesame@host/db"}, tmp_path)
    assert "sesame" not in str(refused.value)


def test_the_first_address_is_the_replica_that_is_asked_and_the_others_are_watched(tmp_path: Path):
    said = read_environment({"MLOPS_SERVICE_URL": "http://a:3000, http://b:3000,"}, tmp_path)
    assert (said.service_url, said.other_service_urls) == ("http://a:3000", ("http://b:3000",))
