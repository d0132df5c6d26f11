"""One shop, filled once, and a copy of it for every test."""

import shutil
from pathlib import Path

import pytest

from tests.erasure.shop import carried_shop


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("carried")
    carried_shop(root)
    return root


@pytest.fixture
def root(carried: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(carried, tmp_path / "root"))
