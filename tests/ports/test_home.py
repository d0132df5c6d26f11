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
    ],
)
def test_an_illegal_environment_is_refused_with_what_is_legal(tmp_path: Path, variables: dict[str, str], message: str):
    with pytest.raises(IllegalEnvironment, match=message):
        read_environment(variables, tmp_path)
