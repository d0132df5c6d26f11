"""Local time in files: the moment that the wall clock showed, also on the days of a clock change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.spec.form import Csv
from tests.ingestion.forms.delivered import Delivered, column, contract, deliver

TABLE = contract(column("k", "int"), column("at", "datetime"))
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "UTC",
)
Doubled = Literal["refuse", "earlier", "later"]


def read(
    folder: Path, *texts: str, zone: str = "Europe/Berlin", doubled: Doubled = "refuse", layout: str | None = None
) -> Delivered:
    lines = "".join(f'{key},"{text}"\n' for key, text in enumerate(texts))
    return deliver(folder, f"k,at\n{lines}".encode(), Csv(time_zone=zone, doubled=doubled, datetime_format=layout), TABLE)


def test_a_datetime_without_an_offset_is_local_and_one_with_an_offset_is_not(tmp_path: Path) -> None:
    result = read(tmp_path, "2013-07-01T14:05:00", "2013-01-01 14:05", "2013-07-01T14:05:00Z", "2013-07-01T14:05:00+05:30")
    assert [row[1].strftime("%m-%d %H:%M") for row in result.rows] == ["07-01 12:05", "01-01 13:05", "07-01 14:05", "07-01 08:35"]


def test_a_skipped_hour_is_quarantined_and_a_doubled_one_is_as_declared(tmp_path: Path) -> None:
    texts = ("2013-03-31T02:30:00", "2013-10-27T02:30:00", "2013-10-27T02:30:00+01:00")
    skipped = "at: '2013-03-31T02:30:00' is skipped by a clock change in Europe/Berlin"
    doubled = "at: '2013-10-27T02:30:00' is repeated by a clock change in Europe/Berlin; declare doubled, or deliver offsets"
    result = read(tmp_path, *texts)
    assert result == ([(2, datetime(2013, 10, 27, 1, 30, tzinfo=UTC))], {2: skipped, 3: doubled})
    for rule, hour in (("earlier", 0), ("later", 1)):
        result = read(tmp_path, *texts, doubled=rule)
        assert result.rows[0] == (1, datetime(2013, 10, 27, hour, 30, tzinfo=UTC)) and result.reasons == {2: skipped}


def test_an_offset_in_a_declared_form_wins(tmp_path: Path) -> None:
    result = read(tmp_path, "01.07.2013 14:05 +0200", "01.07.2013 14:05", layout="%d.%m.%Y %H:%M %z")
    assert result.rows == [(0, datetime(2013, 7, 1, 12, 5, tzinfo=UTC))]
    assert result.reasons == {3: "at: '01.07.2013 14:05' is not a datetime of the form %d.%m.%Y %H:%M %z"}


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("%m/%d/%Y %I:%M %p", "07/01/2013 02:05 PM"), ("%d %b %Y, %H:%M:%S", "01 Jul 2013, 14:05:00"), ("%Y%m%d%H%M", "201307011405"),
        ("%Y-%j %H:%M", "2013-182 14:05"), ("%d.%m.%y %H:%M:%S.%f", "01.07.13 14:05:00.000"), ("%d %B %Y %H:%M", "1 July 2013 14:05"),
        ("%H:%M 100%% %Y-%m-%d", ""),
    ],
)  # fmt: skip
def test_declared_forms_are_read_as_python_does(tmp_path: Path, layout: str, text: str) -> None:
    if "%%" in layout:
        with pytest.raises(ValueError, match="'%%' is no directive"):
            Csv(datetime_format=layout)
        return
    assert datetime.strptime(text, layout) == datetime(2013, 7, 1, 14, 5)
    assert read(tmp_path, text, zone="UTC", layout=layout).rows == [(0, datetime(2013, 7, 1, 14, 5, tzinfo=UTC))]


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(datetime(1975, 1, 2), datetime(2035, 12, 30)).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(ZONES), st.sampled_from(["refuse", "earlier", "later"]), st.sampled_from([None, "%d.%m.%Y %H:%M:%S"]),
)  # fmt: skip
@example(datetime(2013, 3, 31, 2, 30), "Europe/Berlin", "later", None)
@example(datetime(2013, 10, 27, 2, 30), "Europe/Berlin", "later", "%d.%m.%Y %H:%M:%S")
@example(datetime(2024, 4, 7, 1, 45), "Australia/Lord_Howe", "earlier", None)
def test_the_moment_is_the_one_that_the_time_zone_database_names(
    tmp_path_factory: pytest.TempPathFactory, wall: datetime, zone: str, doubled: Doubled, layout: str | None
) -> None:
    text = wall.strftime(layout) if layout else wall.isoformat()
    result = read(tmp_path_factory.mktemp("home"), text, zone=zone, doubled=doubled, layout=layout)
    candidates = {wall.replace(tzinfo=UTC) - timedelta(minutes=15 * quarter) for quarter in range(-4 * 14, 4 * 15)}
    moments = sorted(moment for moment in candidates if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall)
    legal = moments if len(moments) < 2 else {"refuse": [], "earlier": moments[:1], "later": moments[1:]}[doubled]
    assert [row[1] for row in result.rows] == legal
