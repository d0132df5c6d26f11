"""Landed entries outside the folders of the declared tables: a nearly right name is reported, and a folder of another use case is not."""

from pathlib import Path

from mlops_assets.ingestion.delivery import complete
from mlops_assets.ingestion.misplaced import find_misplaced
from tests.cli.loans import LOANS


def test_folders_with_nearly_the_right_name_and_files_without_a_folder_are_named(tmp_path: Path) -> None:
    for name in (
        "loans/payments",
        "loans/payment",
        "loans/Applications",
        "loans/archive",
        "loan/payments",
        "flights/days",
        ".git",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "loans" / "2024-03-01.csv").touch()
    (tmp_path / "loans" / ".DS_Store").touch()
    complete(tmp_path, "loans")
    assert [one.sentence for one in find_misplaced(LOANS, tmp_path, ["loans", "flights"])] == [
        "loan/ is the folder of no use case, so nothing in it is read. Is it loans? Rename it",
        "loans/2024-03-01.csv is in the folder of no table, so it is not read. Move it to that of applications or payments",
        "loans/Applications/ is the folder of no table, so nothing in it is read. Is it applications? Rename it",
        "loans/payment/ is the folder of no table, so nothing in it is read. Is it payments? Rename it",
    ]
    assert [one.table for one in find_misplaced(LOANS, tmp_path, ["loans", "flights"])] == [
        "applications",
        "applications",
        "applications",
        "payments",
    ]


def test_a_home_without_a_landing_folder_has_none(tmp_path: Path) -> None:
    assert [*find_misplaced(LOANS, tmp_path / "landing", ["loans"])] == []
