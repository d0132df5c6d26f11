import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from mlops_assets.serving.http.api_keys import ApiKeys, RefusedName, UnreadableApiKeys, digest_of

MONDAY, TUESDAY = datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 3, 3, 8, tzinfo=UTC)
ADD_MANY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mlops_assets.serving.http.api_keys import ApiKeys
keys, writer = ApiKeys(Path(sys.argv[1])), sys.argv[2]
sys.stdin.readline()
for number in range(20):
    keys.add(f"{writer}-{number}", datetime.now(UTC), lambda: f"{writer}{number}")
"""


def numbered() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"token-{next(numbers)}"


def names_by_digest(keys: ApiKeys) -> dict[bytes, str]:
    return {digest: key.name for digest, key in (keys.active() or {}).items()}


def test_a_token_is_returned_once_and_only_its_hash_is_kept(tmp_path: Path):
    token = ApiKeys(tmp_path).add("shop", MONDAY, lambda: "secret-bits")
    assert token == "mlops_secret-bits"
    for path in tmp_path.iterdir():
        assert b"secret-bits" not in path.read_bytes()
    assert names_by_digest(ApiKeys(tmp_path)) == {digest_of(b"mlops_secret-bits"): "shop"}


def test_no_key_ever_is_something_else_than_no_key_any_more(tmp_path: Path):
    keys = ApiKeys(tmp_path)
    assert (keys.active(), keys.entries()) == (None, [])
    keys.add("shop", MONDAY, numbered())
    keys.revoke("shop", TUESDAY)
    assert keys.active() == {}


def test_a_revoked_key_stays_in_the_list_and_out_of_force(tmp_path: Path):
    keys, new_token = ApiKeys(tmp_path), numbered()
    keys.add("shop", MONDAY, new_token)
    keys.add("app", MONDAY, new_token)
    keys.revoke("shop", TUESDAY)
    assert [(entry.name, entry.made_at, entry.revoked_at) for entry in keys.entries()] == [
        ("shop", MONDAY, TUESDAY),
        ("app", MONDAY, None),
    ]
    assert names_by_digest(keys) == {digest_of(b"mlops_token-2"): "app"}


def test_a_name_in_use_is_refused_and_free_again_after_its_key_is_revoked(tmp_path: Path):
    keys, new_token = ApiKeys(tmp_path), numbered()
    keys.add("shop", MONDAY, new_token)
    with pytest.raises(RefusedName, match="'shop' is in use"):
        keys.add("shop", MONDAY, new_token)
    keys.revoke("shop", MONDAY)
    keys.add("shop", TUESDAY, lambda: "second")
    assert names_by_digest(keys) == {digest_of(b"mlops_second"): "shop"}
    keys.revoke("shop", TUESDAY)
    assert [entry.revoked_at for entry in keys.entries()] == [MONDAY, TUESDAY], "the first revocation keeps its time"


@pytest.mark.parametrize("name", ["", "Shop", "a b", "-x", "x" * 64, "a\n", "ä", 'x"y'])
def test_a_name_that_is_illegal_in_a_metric_label_is_refused(tmp_path: Path, name: str):
    with pytest.raises(RefusedName, match="legal: 1 to 63"):
        ApiKeys(tmp_path).add(name, MONDAY, numbered())
    assert ApiKeys(tmp_path).active() is None


def test_an_unknown_name_cannot_be_revoked_and_the_active_ones_are_named(tmp_path: Path):
    keys = ApiKeys(tmp_path)
    with pytest.raises(RefusedName, match="active: none"):
        keys.revoke("shop", MONDAY)
    keys.add("app", MONDAY, numbered())
    with pytest.raises(RefusedName, match="'shop'; active: app"):
        keys.revoke("shop", MONDAY)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"name": "shop"}]',
        b'[{"name": "a", "sha256": "zz", "made_at": "2026-03-02T08:00:00Z"}]',
        b"[\xff]",
        b'[{"name": "\xff"}]',
    ],
)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(tmp_path: Path, content: bytes):
    (tmp_path / "api_keys.json").write_bytes(content)
    keys = ApiKeys(tmp_path)
    for use in (keys.active, keys.entries, lambda: keys.add("shop", MONDAY, numbered()), lambda: keys.revoke("a", MONDAY)):
        with pytest.raises(UnreadableApiKeys, match=r"api_keys\.json · cannot be read as API keys: .*Restore it"):
            use()
    assert (tmp_path / "api_keys.json").read_bytes() == content


def test_a_folder_in_place_of_the_file_is_an_error_about_access(tmp_path: Path):
    (tmp_path / "api_keys.json").mkdir()
    remedy = "Let the user of this process read it, or restore it from a backup"
    with pytest.raises(UnreadableApiKeys, match=rf"api_keys\.json · cannot be read as API keys: Is a directory\. {remedy}\."):
        ApiKeys(tmp_path).active()


def test_writers_at_once_lose_no_key(tmp_path: Path):
    commands = [[sys.executable, "-c", ADD_MANY, str(tmp_path), writer] for writer in ("a", "b", "c")]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for command in commands]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    active = ApiKeys(tmp_path).active()
    assert active is not None
    assert sorted(key.name for key in active.values()) == sorted(f"{writer}-{number}" for writer in "abc" for number in range(20))
    assert sorted(os.listdir(tmp_path)) == [".api_keys.lock", "api_keys.json"], "nothing is left aside"
    assert isinstance(json.loads((tmp_path / "api_keys.json").read_text()), list)


def test_a_key_of_an_earlier_release_is_valid_for_every_use_case(tmp_path: Path):
    record = {"name": "shop", "sha256": digest_of(b"mlops_old").hex(), "made_at": "2026-03-02T08:00:00Z", "revoked_at": None}
    (tmp_path / "api_keys.json").write_text(json.dumps([record]))
    ApiKeys(tmp_path).add("app", MONDAY, numbered(), use_cases=("loans",))
    shop, app = ApiKeys(tmp_path).entries()
    assert (shop.scope, app.scope) == ("all use cases", "loans")
    assert [key.is_valid_for("loans") for key in (shop, app)] == [True, True]
    assert [key.is_valid_for("flights") for key in (shop, app)] == [True, False]


def test_a_key_whose_last_use_case_was_removed_by_hand_is_valid_for_none(tmp_path: Path):
    keys = ApiKeys(tmp_path)
    keys.add("app", MONDAY, numbered(), use_cases=())
    (app,) = keys.entries()
    assert (app.scope, app.is_valid_for("loans")) == ("no use case", False)
