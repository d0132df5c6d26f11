"""`mlops new` on tables as people export them: a declaration that accepts its own file, or one sentence of what to do."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mlops_assets.foundation.calendars import WHOLE_TABLE, WholeTable
from mlops_assets.graph.check import find_problems
from mlops_assets.ingestion.land_file import land_file
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.inspection.new_use_case import NewUseCase, make_use_case
from mlops_assets.inspection.proposal import Wishes
from mlops_assets.inspection.table_file import NoTable
from mlops_assets.inspection.written_use_case import Target
from mlops_assets.spec.use_case import UseCase
from tests.inspection.messy_tables import CLEAN, QUARANTINED, REFUSED, million_categories, three_forms

TODAY = date(2013, 12, 1)


def made(folder: Path, file: str, content: bytes, options: list[str]) -> NewUseCase:
    (folder / file).write_bytes(content)
    wishes = Wishes(keys=tuple(value for option, value in pairs(options) if option == "--key"))
    for option, value in pairs(options):
        wishes = wishes if option == "--key" else replace(wishes, **{option.strip("-"): value})
    target = Target(folder / "models", "models", folder / "tests")
    return make_use_case("model", folder / file, owner="team:data", wishes=wishes, target=target, folder=folder, today=TODAY)


def pairs(options: list[str]) -> list[tuple[str, str]]:
    return list(zip(options[::2], options[1::2], strict=True))


def written(new: NewUseCase) -> UseCase:
    return runpy.run_path(str(new.files[0]))["USE_CASE"]


def quarantined(folder: Path, new: NewUseCase) -> list[str]:
    """The reasons for rows of the file itself, landed as a whole."""
    use_case, calendar = written(new), WholeTable()
    source, contract = use_case.sources[0], use_case.contracts[0].but(day=None)
    path = folder / use_case.name / source.table / f"snapshot{new.suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(new.file.read_bytes())
    landing = Landing(folder).of(source.form)
    raw = landing.read(use_case.name, contract, [WHOLE_TABLE], required=True, calendar=calendar, max_bytes=source.max_bytes)
    split = split_rows(raw, contract, source.form, calendar)
    assert split.accepted.height
    return split.quarantined["reasons"].to_list()


# 400 columns take 16 s.
@pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.slow] if one == "400 columns" else []) for one in CLEAN])
def test_a_clean_table_gets_a_declaration_that_accepts_every_row(tmp_path: Path, case: str) -> None:
    file, content, options = CLEAN[case]
    new = made(tmp_path, file, content, options)
    assert new.quarantined == 0, new.assumptions
    assert written(new) == new.use_case
    assert not find_problems([new.use_case])
    assert quarantined(tmp_path / "landing", new) == []
    (landed,) = land_file(new.use_case, new.file, landing=Landing(tmp_path / "home"), dry_run=True)
    assert (landed.rows, landed.refused) == (new.rows, 0)


@pytest.mark.parametrize("case", QUARANTINED)
def test_faulty_rows_are_counted_and_named(tmp_path: Path, case: str) -> None:
    file, content, options, count = QUARANTINED[case]
    new = made(tmp_path, file, content, options)
    assert not find_problems([written(new)])
    assert new.quarantined == count, new.assumptions
    assert any(f"{count} of {new.rows} rows go" in sentence for sentence in new.assumptions)


@pytest.mark.parametrize(
    ("table", "column", "sentence"),
    [
        (three_forms, "signed", "signed: it is read as text, as its dates have several forms, or another one than other columns. Deliver one form"),
        (million_categories, "code", "code is an identifier, of which every row has another one: no input of the model"),
    ],
)  # fmt: skip
def test_a_column_that_no_model_can_use_is_no_input_and_is_named_with_the_reason(
    tmp_path: Path, table: Callable[[], bytes], column: str, sentence: str
) -> None:
    new = made(tmp_path, "table.csv", table(), ["--label", "churn"])
    assert written(new) == new.use_case and not find_problems([new.use_case])
    assert new.quarantined == 0 and sentence in new.assumptions
    assert "amount" in new.use_case.features.inputs and column not in new.use_case.features.inputs


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_no_use_case_can_be_made_from_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    file, content, options, message = REFUSED[case]
    with pytest.raises(NoTable) as refused:
        made(tmp_path, file, content, options)
    assert str(refused.value) == message or (message.endswith(": ") and str(refused.value).startswith(message))
    assert not (tmp_path / "models").exists() and not (tmp_path / "tests").exists()
