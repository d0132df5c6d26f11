"""What is chosen where a table leaves it open: label, time, key, task, names, ranges, and the questions."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlops_assets.inspection.column_names import LOGGED, column_names
from mlops_assets.inspection.contracts import round_up
from mlops_assets.inspection.labels import find_typos
from mlops_assets.inspection.proposal import NoKey, Proposal, Question, Wishes, propose
from mlops_assets.inspection.roles import Period
from mlops_assets.inspection.source_code import to_code
from mlops_assets.inspection.splits import RARER_HALF, propose_split
from mlops_assets.inspection.table_file import NoTable, numbered, read_table_file
from mlops_assets.inspection.windows import propose_monitors
from mlops_assets.serving.log.prediction_log import ANSWERED, ROUTED
from mlops_assets.spec.feature import ADDED
from mlops_assets.spec.gate import NoLeak
from mlops_assets.spec.split import RandomSplit, TimeSplit
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.tasks import task_of
from tests.inspection.messy_tables import CLEAN, FIRST, csv, day, text


def proposed(folder: Path, content: bytes, **options: str | tuple[str, ...]) -> Proposal:
    (folder / "t.csv").write_bytes(content)
    table = read_table_file(folder / "t.csv")
    wishes = Wishes(**options)  # type: ignore[arg-type]
    return propose(table, name="model", table_name="t", owner="team:data", wishes=wishes, today=date(2013, 12, 1))


CHOICES: list[tuple[str, dict[str, str | tuple[str, ...]], str]] = [
    ("german", {}, "Binary(label='gekuendigt')"),
    ("german", {"label": "Farbe"}, "Multiclass(label='farbe', classes=('blue', 'green', 'red'))"),
    ("german", {"label": "größe (m²)"}, "Regression(label='groesse_m2')"),
    ("imbalanced text", {}, "Binary(label='churn', positive='fraud')"),
    ("by day", {}, "Regression(label='demand')"),
    ("numbers of classes", {}, "Multiclass(label='churn', classes=(1, 2, 3, 4, 5))"),
    ("numbers of classes", {"task": "regression"}, "Regression(label='churn')"),
]


@pytest.mark.parametrize(("case", "options", "task"), CHOICES)
def test_the_task_follows_from_the_label(tmp_path: Path, case: str, options: dict[str, str], task: str) -> None:
    assert to_code(proposed(tmp_path, CLEAN[case][1], **options).use_case.task) == task.replace("'", '"')


@pytest.mark.parametrize(
    ("layout", "step", "form"),
    [
        ("%d/%m/%Y", 1, "%d/%m/%Y"),
        ("%m/%d/%Y", 1, "%m/%d/%Y"),
        ("%m/%d/%y", 1, "%m/%d/%y"),
        ("%d %b %Y", 1, "%d %b %Y"),
        ("%Y%m%d", 1, "%Y%m%d"),
        ("%Y-%m-%d", 1, None),
    ],
)
def test_the_form_of_days_is_recognized(tmp_path: Path, layout: str, step: int, form: str | None) -> None:
    use_case = proposed(tmp_path, csv(moment=lambda row: day(row, layout)), label="churn").use_case
    assert use_case.sources[0].form.date_format == form
    assert use_case.contracts[0].day == "moment"


def test_the_date_form_with_the_shorter_span_is_chosen_and_named(tmp_path: Path) -> None:
    days = [date(2013, 1, 1) + timedelta(days=number % 12) for number in range(200)]
    numbers = iter(days)
    proposal = proposed(tmp_path, csv(moment=lambda _: f"{next(numbers):%m/%d/%Y}"), label="churn")
    assert proposal.use_case.sources[0].form.date_format == "%m/%d/%Y"
    assert "dates are read as %m/%d/%Y; %d/%m/%Y would fit as well: correct date_format if so" in proposal.assumptions


def test_only_doubtful_fields_are_questions(tmp_path: Path) -> None:
    questions: list[tuple[Question, list[str]]] = []

    def answer(question: Question, answers: Sequence[str]) -> str:
        questions.append((question, [*answers]))
        return answers[1]

    content = csv(header=["id", "moment", "amount", "age", "colour", "left"])
    (tmp_path / "t.csv").write_bytes(content)
    table = read_table_file(tmp_path / "t.csv")
    today = date(2013, 12, 1)
    proposal = propose(table, name="model", table_name="t", owner="team:data", wishes=Wishes(), today=today, ask=answer)
    assert questions == [(Question("Which column is to be predicted", "--label"), ["left", "colour", "age", "amount"])]
    assert proposal.use_case.task.label_name == "colour"


def test_few_frequent_texts_are_closed_with_a_note_while_more_or_rare_ones_stay_open(tmp_path: Path) -> None:
    header = ["id", "few", "many", "rare", "left"]
    rows = [
        [f"k{7 * n}", "abc"[n % 3], "abcdefgh"[n % 8], "b" if n % 60 == 0 else "a", "yes" if n % 2 else "no"] for n in range(1500)
    ]
    content = "".join(f"{','.join(row)}\n" for row in [header, *rows]).encode()
    proposal = proposed(tmp_path, content, label="left")
    closed = {one.name: one.allowed for one in proposal.use_case.contracts[0].columns if one.allowed}
    assert closed == {"few": ("a", "b", "c")}
    assert proposal.comments["few"] == "A row with another value is refused: remove `allowed` where new values may come."
    assert (
        "a later row with a new value of few goes to quarantine: remove `allowed` where new ones may come" in proposal.assumptions
    )


def test_one_input_may_decide_more_of_a_number_than_of_a_class(tmp_path: Path) -> None:
    rows = "".join(f"k{7 * n},{n % 37},{(n % 37) * 3 + n % 11}.5,{'yes' if n % 2 else 'no'}\n" for n in range(900))
    content = f"id,size,price,left\n{rows}".encode()
    gates = {label: proposed(tmp_path, content, label=label).use_case.gates for label in ("price", "left")}
    assert NoLeak(max_single_auc=0.985) in gates["price"] and NoLeak() in gates["left"]


def test_a_temperature_may_be_negative_tomorrow_and_a_price_not(tmp_path: Path) -> None:
    rows = "".join(f"k{7 * n},{n % 30 + 1},{n % 9 + 1}.5,{'yes' if n % 2 else 'no'}\n" for n in range(300))
    contract = proposed(tmp_path, f"id,Temperature,price,left\n{rows}".encode(), label="left").use_case.contracts[0]
    assert [(contract.column(name).min, contract.column(name).max) for name in ("temperature", "price")] == [(-200, 200), (0, 50)]


def test_names_are_legal_distinct_and_free() -> None:
    headers = ["Größe (m²)", "groesse m2", "2nd", "class", "day", "probability", "", "数", "customerID", "%"]
    names = (
        "groesse_m2",
        "groesse_m2_2",
        "n_2nd",
        "class_value",
        "day_value",
        "probability_value",
        "column_7",
        "column_8",
        "customer_id",
        "column_10",
    )
    assert column_names(headers) == names


def test_every_column_of_the_prediction_log_is_taken() -> None:
    tasks = [task_of(task) for task in (Binary("y"), Multiclass("y", classes=("a", "b")), Regression("y"))]
    of_tasks = {name for task in tasks for name in (*task.COLUMNS, *task.rival_columns())}
    assert {*ROUTED, *ANSWERED, *of_tasks} <= {*LOGGED, *ADDED}


@pytest.mark.parametrize(("number", "bound"), [(0, 1), (0.3, 0.5), (1, 1), (90, 100), (250, 500), (501, 1000)])
def test_proposed_bounds_are_round_numbers(number: float, bound: float) -> None:
    assert round_up(number) == pytest.approx(bound)


def test_misspelt_values_are_those_in_another_case_and_rare_ones_near_frequent_ones() -> None:
    levels = {"regular": 500, "fraud": 100, "Regular": 40, "regulr": 2, "other": 2, " fraud": 1}
    assert find_typos(levels) == {"Regular": "regular", "regulr": "regular", " fraud": "fraud"}
    assert find_typos({"low": 50, "high": 50, "height": 40}) == {}


DAYS = timedelta(days=1)


@pytest.mark.parametrize(
    ("rows", "share", "span", "split", "is_enough"),
    [
        (10_000, 0.5, None, None, True),
        (350, 0.5, None, RandomSplit(test=0.3), True),
        (100, 0.5, None, None, False),
        (10_000, 0.001, None, None, False),
        (100_000, 0.3, 365 * DAYS, None, True),
        (1000, 0.25, 365 * DAYS, TimeSplit(test=132 * DAYS, validation=66 * DAYS), True),
        (
            6000,
            0.068,
            221 * DAYS,
            TimeSplit(test=49 * DAYS, validation=25 * DAYS),
            True,
        ),  # the half that is scored has 30 of each
        (900, RARER_HALF, 900 * DAYS, TimeSplit(test=258 * DAYS, validation=129 * DAYS), True),
        (200, 0.5, 365 * DAYS, None, False),
        (5000, 0.5, 40 * DAYS, TimeSplit(test=10 * DAYS, validation=5 * DAYS), True),
        (5000, 0.5, 2 * DAYS, RandomSplit(), True),
    ],
)
def test_the_parts_of_a_split_have_enough_rows_to_look_for_leaks(
    rows: int, share: float, span: timedelta | None, split: TimeSplit | RandomSplit | None, is_enough: bool
) -> None:
    assert propose_split(rows, share, span) == (split, is_enough)


def test_a_table_with_days_is_read_as_one_without_where_a_person_says_so(tmp_path: Path) -> None:
    content = csv(header=["id", "moment", "amount", "age", "colour", "left"])
    timed, untimed = (proposed(tmp_path, content, label="left", **wishes) for wishes in ({}, {"time": "none"}))
    assert "a row happens at moment: name another column with --time, or none" in timed.assumptions
    assert (timed.use_case.contracts[0].day, untimed.use_case.contracts[0].day) == ("moment", None)
    assert isinstance(untimed.use_case.split, RandomSplit) and untimed.use_case.first_day is None
    with pytest.raises(NoTable, match="legal: days or moments, all written in one form, or none"):
        proposed(tmp_path, content, label="left", time="age")
    named = csv(header=["id", "none", "amount", "age", "colour", "left"])
    assert proposed(tmp_path, named, label="left", time="none").use_case.contracts[0].day == "none"


def test_none_is_the_last_answer_to_when_a_row_happens(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv(booked_at=lambda row: day(row, "%Y-%m-%d"), paid_at=lambda row: day(row, "%Y-%m-%d")))
    asked = list[list[str]]()

    def answer(_question: Question, answers: Sequence[str]) -> str:
        asked.append([*answers])
        return answers[-1]

    wishes, today = Wishes(label="churn"), date(2013, 12, 1)
    table = read_table_file(tmp_path / "t.csv")
    proposal = propose(table, name="model", table_name="t", owner="team:data", wishes=wishes, today=today, ask=answer)
    assert asked and asked[0][-1] == "none" and proposal.use_case.contracts[0].day is None


def test_measured_values_identify_rows_only_where_no_number_can_be_added(tmp_path: Path) -> None:
    rows = "".join(f"{n * 37 % 101}.5,{n * 53 % 97}.25,{'yes' if n % 2 else 'no'}\n" for n in range(90))
    content = f"width,height,left\n{rows}".encode()
    with pytest.raises(NoKey, match="no column identifies a row"):
        proposed(tmp_path, content, label="left")
    table = read_table_file(tmp_path / "t.csv", max_rows=80)
    wishes = Wishes(label="left")
    contract = propose(
        table, name="m", table_name="t", owner="team:data", wishes=wishes, today=date(2013, 12, 1)
    ).use_case.contracts[0]
    assert contract.unique == ("width",)


def test_a_copy_with_numbers_has_every_row_or_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CLEAN["rows alike"][1])
    with pytest.raises(NoTable, match="of more than 50 rows no copy is made. Name the columns that identify a row with --key"):
        numbered(read_table_file(tmp_path / "t.csv", max_rows=50), tmp_path / "numbered.csv")
    copy = numbered(read_table_file(tmp_path / "t.csv"), tmp_path / "numbered.csv")
    assert (copy.rows.height, copy.headers) == (200, ("row_number", "colour", "churn"))
    (tmp_path / "numbered.csv").write_text("mine")
    with pytest.raises(NoTable, match="it exists, and would be replaced"):
        numbered(read_table_file(tmp_path / "t.csv"), tmp_path / "numbered.csv")
    assert (tmp_path / "numbered.csv").read_text() == "mine"


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "cp1252"), ("\t", "utf-16")])
def test_a_copy_with_numbers_has_the_form_of_the_file_so_that_its_numbers_are_read(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    decimal = "." if delimiter == "," else ","
    lines = [
        delimiter.join((f"{row % 9}{decimal}5", "grün" if row % 2 else "rot", "yes" if row % 3 else "no")) for row in range(200)
    ]
    (tmp_path / "t.csv").write_bytes("\n".join([delimiter.join(("größe", "farbe", "churn")), *lines, ""]).encode(encoding))
    original = read_table_file(tmp_path / "t.csv")
    copy = numbered(original, tmp_path / "numbered.csv")
    assert copy.form == original.form
    wishes = Wishes(keys=("row_number",))
    proposal = propose(copy, name="model", table_name="t", owner="team:data", wishes=wishes, today=date(2013, 12, 1))
    assert proposal.use_case.columns("t")["groesse"].dtype == "float"


@pytest.mark.parametrize("file", ["plain", "json lines", "parquet named csv"])
def test_the_days_of_rows_that_are_not_inspected_count(tmp_path: Path, file: str) -> None:
    (tmp_path / "t").write_bytes(CLEAN[file][1])
    table = read_table_file(tmp_path / "t", max_rows=50)
    assert (table.rows.height, table.is_whole) == (50, False)
    today = date(2013, 12, 1)
    proposal = propose(table, name="model", table_name="t", owner="team:data", wishes=Wishes("churn"), today=today)
    assert (proposal.use_case.first_day, proposal.use_case.last_day) == (date(2013, 1, 1), date(2013, 5, 22))
    assert "the first 50 rows of the file were read: later ones may have other values" in proposal.assumptions
    assert not proposal.use_case.sources[0].only_when_changed, "every day has a row"
    assert proposal.use_case.contracts[0].column("amount").nullable, "a later row may have no value"


def test_a_value_that_is_part_of_a_key_is_an_input(tmp_path: Path) -> None:
    days = [(FIRST + timedelta(days=number)).date() for number in range(60)]
    rows = [[f"{one}", shop, f"{10 * number + one.day}.5"] for one in days for number, shop in enumerate(("north", "south"))]
    use_case = proposed(tmp_path, text([["date", "shop", "sales"], *rows]).encode(), label="sales").use_case
    assert use_case.contracts[0].unique == ("shop", "date")
    assert "shop" in use_case.features.categorical and "shop" in use_case.features.request


@pytest.mark.parametrize(
    ("rows_a_day", "days", "min_rows"), [(1, 90, 45), (3, 90, 135), (10, 30, 150), (66, 30, 990), (67, 30, 1000), (900, 30, 1000)]
)
def test_a_monitor_can_judge_from_the_rows_that_its_window_has(rows_a_day: int, days: int, min_rows: int) -> None:
    period = Period(date(2024, 1, 1), date(2024, 12, 30), days=365, rows=365 * rows_a_day)
    monitors, note = propose_monitors(period)
    assert {(monitor.window.days, monitor.min_rows) for monitor in monitors} == {(days, min_rows)}
    assert bool(note) == (min_rows < 1000) and (not note or f"a verdict needs {min_rows}." in note)
    assert min_rows <= max(rows_a_day * days, 1000)


def test_a_proposal_for_one_row_a_day_says_from_how_many_rows_monitors_judge(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, CLEAN["by day"][1])
    assert {monitor.min_rows for monitor in proposal.use_case.monitors} == {45}
    assert proposal.notes["monitors"] == "The file has about 90 rows in 90 days: a verdict needs 45."
