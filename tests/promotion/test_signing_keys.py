import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.promotion.signing_keys import SigningKeys, UnusableKey, key_id

PRINT_KEY = """
import sys
from pathlib import Path
from mlops_assets.promotion.signing_keys import SigningKeys
keys = SigningKeys(Path(sys.argv[1]))
sys.stdin.readline()
print(keys.private().private_bytes_raw().hex())
"""


def test_the_private_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path):
    keys = SigningKeys(tmp_path)
    first = keys.private()
    assert keys.private().private_bytes_raw() == first.private_bytes_raw()
    assert stat.S_IMODE((tmp_path / "private.pem").stat().st_mode) == 0o600


def test_before_the_first_signing_no_key_is_known(tmp_path: Path):
    assert SigningKeys(tmp_path).public() == {}
    assert not (tmp_path / "private.pem").exists()


def test_public_keys_have_the_id_that_blessings_use(tmp_path: Path):
    keys = SigningKeys(tmp_path)
    public = keys.private().public_key()
    assert {name: key.public_bytes_raw() for name, key in keys.public().items()} == {key_id(public): public.public_bytes_raw()}


def test_concurrent_first_users_all_get_the_same_key(tmp_path: Path):
    command = [sys.executable, "-c", PRINT_KEY, str(tmp_path)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    keys = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert keys == {SigningKeys(tmp_path).private().private_bytes_raw().hex()}
    assert sorted(os.listdir(tmp_path)) == ["private.pem", "public"]
    assert len(SigningKeys(tmp_path).public()) == 1


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_file_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "private.pem").write_bytes(content)
    with pytest.raises(UnusableKey, match=r"private\.pem · .*; legal: an Ed25519 key in PEM"):
        SigningKeys(tmp_path).private()


def test_after_a_rotation_new_and_old_signatures_count_until_the_old_key_is_withdrawn(tmp_path: Path):
    keys = SigningKeys(tmp_path)
    before = keys.private().public_key()
    new = keys.rotate()
    assert keys.private().public_key() != before
    assert len(keys.public()) == 2 and keys.public()[new] == keys.private().public_key()
    (old,) = keys.public().keys() - {new}
    keys.withdraw(old, needed_by=[])
    assert [*keys.public()] == [new]
    with pytest.raises(UnusableKey, match=f"'{old}' is not known; known: {new}"):
        keys.withdraw(old, needed_by=[])


def test_the_key_that_signs_cannot_be_withdrawn(tmp_path: Path):
    keys = SigningKeys(tmp_path)
    assert keys.current() is None
    keys.private()
    (first,) = keys.public()
    assert keys.current() == first
    with pytest.raises(UnusableKey, match=f"{first} signs new blessings. Run `mlops signing rotate`, then withdraw it"):
        keys.withdraw(first, needed_by=[])
    assert [*keys.public()] == [first]
    second = keys.rotate()
    with pytest.raises(UnusableKey, match=f"version 1, version 2. Run `mlops signing reissue {first}`, then withdraw it"):
        keys.withdraw(first, needed_by=["version 1", "version 2"])
    assert {*keys.public()} == {first, second}
    assert keys.current() == second != first
    keys.withdraw(first, needed_by=[])
    keys.private()
    assert [*keys.public()] == [second]


def test_a_rotated_private_key_is_readable_by_its_owner_only(tmp_path: Path):
    keys = SigningKeys(tmp_path)
    keys.private()
    keys.rotate()
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_from_a_secret_store_is_used_and_never_created_or_rotated(tmp_path: Path):
    other = SigningKeys(tmp_path / "other")
    private = other.private()
    external = SigningKeys(tmp_path / "home", external=tmp_path / "other" / "private.pem")
    assert external.private().private_bytes_raw() == private.private_bytes_raw()
    assert [*external.public()] == [*other.public()] and not (tmp_path / "home" / "private.pem").exists()
    with pytest.raises(UnusableKey, match="comes from a secret store. Replace it there"):
        external.rotate()
    missing = SigningKeys(tmp_path / "home", external=tmp_path / "nowhere.pem")
    with pytest.raises(UnusableKey, match="the file is missing.*correct MLOPS_SIGNING_KEY"):
        missing.private()
    assert not (tmp_path / "nowhere.pem").exists()
