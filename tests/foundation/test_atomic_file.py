import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.foundation.atomic_file import PRIVATE, create_file, replace_file, write_aside


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_replaced_file_has_the_new_content_and_leaves_nothing_next_to_it(tmp_path: Path):
    path = tmp_path / "folder" / "file"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_new_file_is_readable_as_the_umask_allows_and_keeps_the_mode_that_an_operator_set(tmp_path: Path):
    replace_file(tmp_path / "file", b"first")
    assert mode(tmp_path / "file") == 0o640
    (tmp_path / "file").chmod(0o664)
    replace_file(tmp_path / "file", b"second")
    assert mode(tmp_path / "file") == 0o664


def test_a_private_file_is_for_its_owner_whatever_was_there_before(tmp_path: Path):
    replace_file(tmp_path / "file", b"shared")
    replace_file(tmp_path / "file", b"private", mode=PRIVATE)
    create_file(tmp_path / "new", b"private", mode=PRIVATE)
    assert (mode(tmp_path / "file"), mode(tmp_path / "new")) == (0o600, 0o600)


def test_a_file_written_aside_is_private_and_not_in_place_yet(tmp_path: Path):
    aside = write_aside(tmp_path / "file", b"content")
    assert aside.read_bytes() == b"content" and aside.parent == tmp_path
    assert mode(aside) == 0o600 and not (tmp_path / "file").exists()


def test_a_created_file_never_replaces_another(tmp_path: Path):
    create_file(tmp_path / "file", b"first")
    create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_the_same_name_is_an_error_and_is_kept(tmp_path: Path):
    (tmp_path / "file" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file" / "inner").is_dir()
