import stat
from pathlib import Path

import pytest

from mlops_assets.ports.durable_file import replace_file, write_aside


def test_a_replaced_file_holds_the_new_content_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "folder" / "file"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_file_written_aside_is_for_its_owner_and_not_in_place_yet(tmp_path: Path):
    aside = write_aside(tmp_path / "file", b"content")
    assert aside.read_bytes() == b"content" and aside.parent == tmp_path
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600 and not (tmp_path / "file").exists()


def test_a_folder_in_the_way_is_an_error_and_not_a_loss(tmp_path: Path):
    (tmp_path / "file" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file" / "inner").is_dir()
