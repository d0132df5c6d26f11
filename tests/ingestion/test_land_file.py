"""A flat file lands as the files of its tables and partitions: every row once, as the platform reads it, and nothing twice."""

import gzip
import io
import random
import time
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.ingestion.flat_file import IllegalFlatFile, LandedTable
from mlops_assets.ingestion.land_file import land_file
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.spool import PARTITION, Spool
from mlops_assets.ingestion.validate import Split, split_rows
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import AnyForm, Csv, Excel, JsonLines, Parquet
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS

START = datetime(2024, 3, 2, tzinfo=UTC)
HEADER = "customer,paid_at,paid\n"
DEFAULT = Csv()


def payments(source: Files, **fields: Any) -> UseCase:
    return LOANS.but(sources=(LOANS.sources[0], source), contracts=(APPLICATIONS, PAYMENTS.but(**fields)))


def rows(count: int = 40) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer": [f'c{number} "a", b;\r\nü' if number % 7 == 0 else f"c{number}" for number in range(count)],
            "paid_at": [(START + timedelta(hours=4 * number)).strftime("%Y-%m-%dT%H:%M:%SZ") for number in range(count)],
            "paid": [f"{number}.25" for number in range(count)],
        }
    )


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def validated(use_case: UseCase, landing: Landing, table: str = "payments") -> Split:
    """What the platform makes of the landed files."""
    contract, form, calendar = use_case.contract(table), use_case.source(table).form, table_calendar(use_case, table)
    own = landing.of(form)
    partitions = calendar.in_run(
        own.digests(use_case.name, table) if calendar.noun == "day" else own.scan(use_case.name, table, calendar=calendar).digests
    )
    return split_rows(own.read(use_case.name, contract, partitions, required=True, calendar=calendar), contract, form, calendar)


def land(use_case: UseCase, path: Path, tmp_path: Path, **options: Any) -> LandedTable:
    (landed,) = land_file(use_case, path, landing=Landing(tmp_path / "landing"), **options)
    return landed


@pytest.mark.parametrize(
    "grain",
    [Daily(), Daily(tz="America/New_York"), Hourly(tz="Asia/Kolkata"), Weekly(), Monthly(tz="Asia/Tokyo"), Snapshot()],
    ids=str,
)
def test_every_row_lands_in_its_own_partition_once(tmp_path: Path, grain: Grain) -> None:
    use_case = payments(Files(table="payments", grain=grain), day=None if grain == Snapshot() else "paid_at")
    shuffled = rows().sample(fraction=1, shuffle=True, seed=1)
    file = written(tmp_path / "export.csv", shuffled.write_csv())
    landed = land(use_case, file, tmp_path, dry_run=True)
    assert landed.refused == 0 and not (tmp_path / "landing").exists()
    assert land(use_case, file, tmp_path).status == {"new": len(landed.keys)}
    split = validated(use_case, Landing(tmp_path / "landing"))
    assert split.quarantined.height == 0
    assert sorted(split.accepted["customer"]) == sorted(rows()["customer"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "landing").rglob("*.csv")}
    assert land(use_case, file, tmp_path).status == {"same": len(landed.keys)}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "landing").rglob("*.csv")} == before


def test_the_dry_run_of_many_partitions_costs_little_more_than_their_rows(tmp_path: Path) -> None:
    paid_at = pl.datetime_range(START, START + timedelta(hours=399), "1h", eager=True).dt.to_string("iso:strict")
    file = tmp_path / "export.csv"
    pl.DataFrame({"customer": "c1", "paid_at": paid_at.str.slice(0, 19) + "Z", "paid": "1"}).write_csv(file)
    use_case, begin = payments(Files(table="payments", grain=Hourly()), day="paid_at").but(last_day=None), time.process_time()
    landed = land(use_case, file, tmp_path, dry_run=True)
    assert (landed.status, landed.refused) == ({"new": 400}, 0)
    assert time.process_time() - begin < 4  # 0.4 s, and 7 s where each partition is validated by itself


def flat_files(tmp_path: Path) -> dict[str, Path]:
    text, lines, buffer, archive = rows().write_csv(), rows().write_ndjson(), io.BytesIO(), io.BytesIO()
    typed = rows().with_columns(pl.col("paid_at").str.to_datetime(time_zone="UTC"), pl.col("paid").cast(pl.Float64()))
    typed.write_parquet(buffer)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("any.csv", text)
    contents = {
        "a.csv": text, "A.CSV": text, "a.csv.gz": gzip.compress(text.encode()), "a.csv.zip": archive.getvalue(),
        "a.jsonl": lines, "a.jsonl.gz": gzip.compress(lines.encode()), "a.parquet": buffer.getvalue(),
    }  # fmt: skip
    return {name: written(tmp_path / name, content) for name, content in contents.items()}


@pytest.mark.parametrize(
    "form",
    [
        Csv(),
        Csv(delimiter=";", quote="'", encoding="utf-8", skip_lines=2),
        Csv(names=("paid", "customer", "paid_at")),
        JsonLines(),
        Parquet(),
    ],
    ids=str,
)
def test_a_file_of_any_form_lands_in_the_declared_one(tmp_path: Path, form: AnyForm) -> None:
    use_case = payments(Files(table="payments", form=form))
    expected = "new"
    for name, file in flat_files(tmp_path).items():
        if name.lower().endswith(form.suffixes) and form != DEFAULT:
            continue  # it would have to be in the declared dialect
        landed = land(use_case, file, tmp_path)
        assert landed.status == {expected: 7}, name
        expected = "same"
        split = validated(use_case, Landing(tmp_path / "landing"))
        assert (
            split.quarantined.height == 0 and split.accepted.sort("paid_at")["customer"].to_list() == rows()["customer"].to_list()
        ), name


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zip"])
def test_a_compressed_file_is_replaced_by_a_compressed_one(tmp_path: Path, suffix: str) -> None:
    file, place = flat_files(tmp_path)["a.csv"], tmp_path / "landing" / "loans" / "payments"
    place.mkdir(parents=True)
    written(place / f"2024-03-02{suffix}", (tmp_path / f"a{suffix}").read_bytes())  # with rows of other days
    use_case = payments(Files(table="payments"))
    landed = land(use_case, file, tmp_path)
    assert (landed.status, landed.retracted) == ({"changed": 1, "new": 6}, 34)
    assert [path.name for path in place.glob("2024-03-02*")] == [f"2024-03-02{suffix}"]
    assert (
        land(use_case, file, tmp_path).status == {"same": 7}
        and validated(use_case, Landing(tmp_path / "landing")).accepted.height == 40
    )


@pytest.mark.parametrize("form", [Csv(), JsonLines()], ids=str)
def test_a_bad_row_lands_where_the_row_before_it_does_and_the_dry_run_counts_what_is_refused(
    tmp_path: Path, form: AnyForm
) -> None:
    lines = [
        "c1,2024-03-01T10:00:00Z,1", "c2,yesterday,1", "c3,2024-03-01T11:00:00Z,much", "c4,2024-03-01T11:00:00Z",
        'c5,"2024-03-01T12:00:00Z,1', "c6,,1", "c7,2024-03-02T10:00:00Z,1,2", "c7,2024-03-02T10:00:00Z,1",
    ]  # fmt: skip
    file, use_case = (
        written(tmp_path / "payments.csv", HEADER + "\n".join(lines) + "\n"),
        payments(Files(table="payments", form=form), day="paid_at"),
    )
    dry = land(use_case, file, tmp_path, dry_run=True)
    assert (dry.rows, dry.refused, dry.keys, dry.refused_keys) == (
        8,
        6,
        ["2024-03-01", "2024-03-02"],
        ["2024-03-01", "2024-03-02"] if form == Csv() else dry.refused_keys,
    )
    assert dry.reasons["paid: … is not a finite number"] == 1 and dry.example.startswith("line 3: paid_at: 'yesterday' is not a")
    land(use_case, file, tmp_path)
    split = validated(use_case, Landing(tmp_path / "landing"))
    assert (split.accepted.height, split.quarantined.height) == (2, 6)
    assert land(use_case, file, tmp_path).status == {"same": 2}


def wide(**fields: Any) -> UseCase:
    """The payments are the requests; what became of them is known later, and a region has many of them."""
    outcomes = Contract(
        table="outcomes", description="Whether it came back.", unique=("customer", "paid_at"),
        columns=(*PAYMENTS.columns[:2], Column(name="returned", dtype="bool", source="Returned?", description="Whether.")),
    )  # fmt: skip
    regions = Contract(
        table="regions", description="Of banks.", unique=("bank",),
        columns=(Column(name="bank", dtype="string", description="Which."), Column(name="region", dtype="string", description="Where.")),
    )  # fmt: skip
    bank = regions.columns[0]
    return UseCase(
        name="returns", owner="team:credit", question="Will it come back?", first_day=date(2024, 3, 1), last_day=date(2024, 3, 9),
        sources=(Files(table="payments"), Files(table="outcomes"), Files(table="regions", grain=Snapshot())),
        contracts=(PAYMENTS.but(columns=(*PAYMENTS.columns, bank)), outcomes, regions),
        features=LOANS.features.but(
            service="returns_v1", views=(), request_table="payments", request=("customer", "paid_at", "paid", "bank"),
            request_features=(LOANS.features.request_features[0].but(column="paid_at"),), numeric=("paid",), categorical=("bank",),
        ),
        task=LOANS.task.but(label=LOANS.label.but(name="returned", table="outcomes", key=("customer", "paid_at"))),
        split=LOANS.split, trainer=LOANS.trainer, **fields,
    )  # fmt: skip


WIDE = (
    "customer,paid_at,paid,bank,Returned?,region\n"
    "c1,2024-03-01T10:00:00Z,1,b1,true,north\n"
    "c2,2024-03-01T10:00:00Z,1,b1,,north\n"
    "c3,2024-03-02T10:00:00Z,1,b2,false,south\n"
    "c4,2024-02-03T10:00:00Z,1,b2,false,south\n"
)


def test_a_wide_file_lands_in_each_table_whose_columns_it_has(tmp_path: Path) -> None:
    use_case, landing = wide(), Landing(tmp_path / "landing")
    landed = {one.table: one for one in land_file(use_case, written(tmp_path / "wide.csv", WIDE), landing=landing)}
    assert {name: (one.rows, one.outside, one.others, one.keys) for name, one in landed.items()} == {
        "payments": (3, 1, 0, ["2024-03-01", "2024-03-02"]),
        "outcomes": (2, 1, 1, ["2024-03-01", "2024-03-02"]),  # c2's is not known yet
        "regions": (2, 0, 2, ["snapshot"]),
    }
    assert (
        landing.root / "returns" / "outcomes" / "2024-03-01.csv"
    ).read_text() == "customer,paid_at,Returned?\nc1,2024-03-01T10:00:00Z,true\n"
    (one,) = land_file(use_case, tmp_path / "wide.csv", landing=landing, tables=["outcomes"])
    assert one.status == {"same": 2}


def test_a_table_without_a_time_lands_in_the_partition_of_its_request(tmp_path: Path) -> None:
    use_case = wide()
    outcomes = use_case.contract("outcomes")
    timeless = outcomes.but(columns=(outcomes.columns[0], outcomes.columns[2]), unique=("customer",))
    declared = use_case.but(
        contracts=(use_case.contracts[0], timeless, use_case.contracts[2]),
        task=use_case.task.but(label=use_case.label.but(key=("customer",))),
    )
    (landed,) = land_file(
        declared, written(tmp_path / "wide.csv", WIDE), landing=Landing(tmp_path / "landing"), tables=["outcomes"]
    )
    assert (landed.keys, landed.rows) == (["2024-03-01", "2024-03-02"], 2)
    assert (tmp_path / "landing" / "returns" / "outcomes" / "2024-03-02.csv").read_text() == "customer,Returned?\nc3,false\n"


def test_a_whole_file_of_one_partition_lands_byte_by_byte(tmp_path: Path) -> None:
    content = "paid, customer ,paid_at\r\n".replace(" ", "") + '"1",c1,2024-03-01T10:00:00Z\r\n'
    land(LOANS, written(tmp_path / "mine.csv", content), tmp_path)
    assert (tmp_path / "landing" / "loans" / "payments" / "2024-03-01.csv").read_bytes() == content.encode()


def test_a_table_without_a_time_lands_in_the_partition_that_the_file_is_named_after(tmp_path: Path) -> None:
    contract = PAYMENTS.but(columns=(PAYMENTS.columns[0], PAYMENTS.columns[2]), unique=("customer",), day=None)
    use_case = LOANS.but(
        sources=LOANS.sources, contracts=(APPLICATIONS, contract), features=LOANS.features.but(views=(), numeric=("amount",))
    )
    with pytest.raises(
        IllegalFlatFile,
        match=r"rates.csv · payments has no date or datetime columns.*Declare Contract\(day=\.\.\.\), or name the file as that of one day, <YYYY-MM-DD>",
    ):
        land(use_case, written(tmp_path / "rates.csv", "customer,paid\nc1,1\n"), tmp_path)
    assert land(use_case, written(tmp_path / "2024-03-04.csv", "customer,paid\nc1,1\n"), tmp_path).keys == ["2024-03-04"]


GERMAN = Csv(delimiter=";", decimal=",", datetime_format="%d.%m.%Y %H:%M")
REFUSED = [
    ("x.csv", "", {}, "x.csv · as applications: the file is empty; expected a header"),
    ("x.csv", "customer,paid_at\nc1,2024-03-01T10:00:00Z\n", {}, "x.csv · as payments: 'paid' is missing; found the columns"),
    ("x.csv", HEADER.replace("paid\n", "paid,colour\n") + "c1,2024-03-01T10:00:00Z,1,red\n", {}, "'colour' is unknown"),
    ("x.csv", HEADER.replace(",", ";") + "c1;2;3\n", {}, "the columns are separated by a semicolon; legal: a comma"),
    ("x.csv", HEADER + "c1,01.03.2024,1\nc2,02.03.2024,1\n", {}, "no paid_at of the first 2 rows can be read; line 2 has '01.03.2024'; legal: a datetime"),
    ("x.csv", HEADER + "c1,2024-03-01T10:00:00Z,1\n", {"tables": ["payment"]}, "--table payment · it is not declared; declared: applications, payments. Use one of these."),
    ("x.csv", HEADER + "c1,2024-03-01T10:00:00Z,1\n", {"tables": ["applications"]}, "x.csv · as applications: 'number' is missing"),
    ("x.csv", "customer,paid\nc1,2\n", {}, "Add what is missing: paid_at identifies a row, and a corrected row has the same there as before."),
    ("x.csv.gz", b"\x1f\x8b\x08half", {}, "x.csv.gz · it cannot be decompressed"),
    ("x.parquet", b"PAR1half", {}, "x.parquet · it is no readable Parquet file"),
    ("x.jsonl", "[1]\n", {}, "x.jsonl · no line is a JSON object"),
    ("x.xlsx", b"PK\x03\x04xl/", {}, "x.xlsx · it is no readable workbook"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "message"), REFUSED, ids=[case[3][:40] for case in REFUSED])
def test_a_file_that_cannot_be_split_has_one_message_and_lands_nothing(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(IllegalFlatFile) as caught:
        land(LOANS, written(tmp_path / name, content), tmp_path, **options)
    assert message in str(caught.value) and not (tmp_path / "landing").exists()


def test_rows_that_cannot_be_written_in_the_declared_form_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "x.jsonl", rows(3).write_ndjson())
    with pytest.raises(
        IllegalFlatFile, match=r"payments is declared as \.csv with its own form of dates or numbers.*Convert the file to \.csv"
    ):
        land(payments(Files(table="payments", form=GERMAN)), file, tmp_path)
    with pytest.raises(IllegalFlatFile, match=r"declared as workbooks, which are not written"):
        land(payments(Files(table="payments", form=Excel())), file, tmp_path)
    cut = written(tmp_path / "x.csv", HEADER + "c1,2024-03-01T10:00:00Z,1\nc2,1\n")
    with pytest.raises(IllegalFlatFile, match=r"line 3: line has 2 of 3 fields; legal in a Parquet file: whole rows"):
        land(payments(Files(table="payments", form=Parquet())), cut, tmp_path)
    with pytest.raises(IllegalFlatFile, match=r"the part 2024-03-02.csv is too large: it has more than 50 bytes"):
        land(payments(Files(table="payments", max_bytes=50)), written(tmp_path / "y.csv", rows(9).write_csv()), tmp_path)


def test_a_file_that_is_too_large_is_refused_without_being_held_in_memory(tmp_path: Path) -> None:
    use_case, large = payments(Files(table="payments", max_bytes=1000)), "x" * 30_000_000
    file = written(tmp_path / "x.csv", f"{HEADER}c1,2024-03-01T10:00:00Z,1\n{large},2024-03-01T10:00:00Z,1\n")
    del large
    tracemalloc.start()
    try:
        with pytest.raises(IllegalFlatFile, match=r"the part 2024-03-01.csv is too large: it has more than 1,000 bytes"):
            land(use_case, file, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 15_000_000
    finally:
        tracemalloc.stop()


def test_the_dialect_of_the_declared_form_is_read_and_kept(tmp_path: Path) -> None:
    use_case = payments(Files(table="payments", form=GERMAN))
    text = "customer;paid_at;paid\nc1;01.03.2024 10:00;1,5\nc2;02.03.2024 10:00;2,5\n"
    assert land(use_case, written(tmp_path / "de.csv", text), tmp_path).keys == ["2024-03-01", "2024-03-02"]
    assert validated(use_case, Landing(tmp_path / "landing")).accepted["paid"].to_list() == [1.5, 2.5]


def test_a_spool_returns_every_partition_once_in_the_order_of_arrival(tmp_path: Path) -> None:
    places = random.Random(1).choices([WHOLE_TABLE + timedelta(days=number) for number in range(9)], k=500)
    spool = Spool(tmp_path, max_bytes=1000, rows_at_once=120)
    for start in range(0, 500, 10):
        spool.add(pl.DataFrame({"number": range(start, start + 10), PARTITION: places[start : start + 10]}))
    spool.flush()
    partitions = {
        place: rows for batch in spool.batches() for (place,), rows in batch.partition_by(PARTITION, as_dict=True).items()
    }
    assert (spool.rows, spool.last, [*partitions]) == (500, max(places), sorted({*places}))
    assert all(
        frame["number"].to_list() == [number for number in range(500) if places[number] == place]
        for place, frame in partitions.items()
    )
