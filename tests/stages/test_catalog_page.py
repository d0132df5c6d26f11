"""The catalogue as people read it: whole, escaped, alone on its page, and aligned in a terminal."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from mlops_assets.stages.catalog import Catalog, FeatureEntry, Statistics, ViewEntry
from mlops_assets.stages.catalog_page import as_html, as_text

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
STATISTICS = Statistics(rows=504, null_share=0.25, distinct=1274, min=-6.8, p50=5.302, mean=1975.2, max=12345.6)
TEMP = FeatureEntry("temp", "Float64", "Degrees.", ("flight_delay version 3",), STATISTICS)
UNUSED = FeatureEntry("wind_direction_of_gusts", "String", "Where from.", (), Statistics())
HOSTILE = '<script>alert("x")</script>&\'"'


def catalog(*features: FeatureEntry, newest: datetime | None = NOON, said: str = "weather") -> Catalog:
    view = ViewEntry(said, said, said, (said, "dest"), timedelta(hours=3), newest, features)
    old = ViewEntry("plane", "Seats.", "team:planes", ("tailnum",), None, NOON - timedelta(days=1), ())
    return Catalog(said, said, 3, timedelta(days=30), (view, old))


class Page(HTMLParser):
    """The text of a page, and the tags that it opens and leaves open."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_everything_about_a_feature() -> None:
    page = Page(as_html(catalog(TEMP, UNUSED)))
    for said in ("temp", "Float64", "Degrees.", "flight_delay version 3", "25.0%", "-6.8", "5.302", "1975", "12,346", "1,274"):
        assert said in page.text
    for said in (
        "no model",
        "2013-06-01 12:00 UTC",
        "1 day behind the newest view",
        "holds for 3 hours",
        "never expires",
        "504 recent",
    ):
        assert said in page.text
    assert "2 features in 2 views, 1 read by no model; version 3 answers; statistics of the last 30 days" in page.text


def test_every_tag_is_closed_and_nothing_is_fetched() -> None:
    said = as_html(catalog(TEMP, UNUSED))
    assert Page(said).open == []
    assert not re.search(r"https?://|src=|@import|url\(", said)


def test_nothing_that_is_declared_becomes_markup() -> None:
    hostile = FeatureEntry(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), STATISTICS)
    plain, attacked = (Page(as_html(catalog(feature, said=said))) for feature, said in ((TEMP, "weather"), (hostile, HOSTILE)))
    assert attacked.tags == plain.tags
    assert attacked.text.count(HOSTILE) == 12, "where each word is shown, it is shown as written"


def test_the_text_is_aligned() -> None:
    lines = as_text(catalog(TEMP, UNUSED)).splitlines()
    head = next(line for line in lines if line.lstrip().startswith("feature"))
    temp, unused = (next(line for line in lines if line.startswith(f"  {name} ")) for name in ("temp", "wind_direction_of_gusts"))
    assert head.index("type") == temp.index("Float64") == unused.index("String")
    assert head.index("missing") + len("missing") == temp.index("25.0%") + len("25.0%")
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("newest", [None, NOON])
def test_a_view_without_features_or_rows_is_still_told(newest: datetime | None) -> None:
    assert ("none yet" in as_text(catalog(newest=newest))) is (newest is None)
