"""A paged API that fails in the middle: what lands is all of a run or nothing, and no record is lost or doubled."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.ingestion.pulling.rows import CannotPull
from mlops_assets.spec.pulled_source import Http, NextCursor, NextLink, PageNumber
from tests.ingestion.pulling.api import Api, running_api
from tests.ingestion.pulling.shop import NOW, ORDERS, Shop, day

TOKEN = "s3cret+token/="
PAGES = [PageNumber(), NextCursor(path="$.next"), NextLink(path="$.link"), NextLink()]


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


@pytest.fixture
def shop(api: Api, tmp_path: Path) -> Shop:
    source = Http(table="orders", url=api.url, records="$.items", pages=PAGES[0], time="ordered_at", token_variable="TOKEN")
    return Shop(tmp_path, source, {"TOKEN": TOKEN})


def order(number: int, amount: Any = 1.5, *, at: datetime | None = None, updated: datetime | None = None) -> dict[str, Any]:
    moments = {"ordered_at": at or day(number % 3), "updated_at": updated or day(4)}
    texts = {name: moment.isoformat().replace("+00:00", "Z") for name, moment in moments.items()}
    return {"number": number, "amount": amount, "note": None, "paid": True, "more": {"ignored": 1}, **texts}


@pytest.mark.parametrize("pages", PAGES, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_every_form_of_pages_is_read_to_the_end(shop: Shop, api: Api, pages: Any, count: int) -> None:
    api.records = [order(number) for number in range(count)]
    shop.source = shop.source.but(pages=pages)
    assert shop.pull().read == count
    assert [*shop.accepted()] == [*range(count)]
    assert {headers["Authorization"] for headers in api.headers} == {f"Bearer {TOKEN}"}
    assert shop.pull().files == []


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "cut", "half", "closed", (429, {"Retry-After": "7"})], ids=repr)
def test_a_fault_in_the_middle_is_tried_again_and_nothing_of_the_page_is_doubled(shop: Shop, api: Api, fault: Any) -> None:
    api.records = [order(number) for number in range(5)]
    api.faults = [None, fault, fault, None]
    shop.pull()
    assert [*shop.accepted()] == [*range(5)]
    assert shop.pauses == ([7.0, 7.0] if isinstance(fault, tuple) else [1.0, 2.0])


def test_a_date_to_retry_after_is_waited_for(shop: Shop, api: Api) -> None:
    api.faults = [(503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})]
    shop.pull()
    assert 25 < shop.pauses[0] <= 30


def failure(shop: Shop) -> str:
    before = shop.files(), shop.position.exists() and shop.position.read_bytes()
    with pytest.raises(CannotPull) as caught:
        shop.pull()
    assert (shop.files(), shop.position.exists() and shop.position.read_bytes()) == before
    assert caught.value.__suppress_context__
    assert TOKEN not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("fault", [500, "cut", "half", "closed", 401, (429, {"Retry-After": "3600"})], ids=repr)
def test_a_lasting_fault_lands_nothing_and_the_next_run_completes_it(shop: Shop, api: Api, fault: Any) -> None:
    api.records = [order(0)]
    shop.pull()
    api.records = [order(number) for number in range(5)]
    api.faults = [None, *[fault] * 5]
    page = f"shop · orders · {api.url}?page=2 · "
    later = ". Nothing of this run has landed; the next run starts where this one did."
    messages = {
        "500": f"the answer is 500 Internal Server Error: no Bearer ***{later}",
        "cut": f"no answer: peer closed connection without sending complete message body (received 11 bytes, expected 1000){later}",
        "half": f"the answer is not JSON: Expecting ',' delimiter: line 1 column 24 (char 23){later}",
        "closed": f"no answer: Server disconnected without sending a response.{later}",
        "401": "the answer is 401 Unauthorized: no Bearer ***. Correct the token or the declaration, or ask the owner of the API.",
        "(429, {'Retry-After': '3600'})": f"the answer is 429 Too Many Requests: later{later}",
    }
    assert failure(shop) == page + messages[str(fault)]
    assert sum(shop.pauses) <= 15
    api.faults = []
    shop.pull()
    assert [*shop.accepted()] == [*range(5)]


def test_only_records_since_the_last_run_are_read(shop: Shop, api: Api) -> None:
    shop.source = shop.source.but(cursor="updated_at", since_param="since", lag=timedelta(minutes=10))
    api.records = [order(number, updated=day(4, minutes=number)) for number in range(30)]
    assert shop.pull().read == 30
    api.records[3] = order(3, 33, updated=day(5))
    api.records.append(order(99, 99, updated=day(40_000)))
    assert shop.pull().read == 13  # the lag from minute 29 back to minute 19, and two new ones
    assert shop.accepted() == {**dict.fromkeys(range(30), 1.5), 3: 33, 99: 99}
    api.records.append(order(100, 100, updated=NOW - timedelta(minutes=5)))  # later than one of the future
    shop.pull()
    assert shop.accepted()[100] == 100


@pytest.mark.slow
def test_random_changes_and_faults_end_in_the_records_of_the_api(shop: Shop, api: Api) -> None:
    draw = random.Random(3)
    shop.source = shop.source.but(cursor="updated_at", since_param="since", lag=timedelta(minutes=1))
    current: dict[int, dict[str, Any]] = {}
    for step in range(25):
        for number in draw.sample(range(30), draw.randrange(6)):
            current[number] = order(number, draw.randrange(1000), updated=day(0, minutes=step))
        api.records = sorted(current.values(), key=lambda one: one["updated_at"])
        api.faults = draw.choices([None, None, None, 500, "cut", "half", "closed", 401, 429], k=draw.randrange(12))
        try:
            shop.pull()
        except CannotPull:
            continue
        assert shop.accepted() == {number: one["amount"] for number, one in sorted(current.items())}


def test_numbers_land_exactly_and_what_is_no_record_goes_to_quarantine(shop: Shop, api: Api) -> None:
    shop.contract = ORDERS.but(columns=tuple(c.but(dtype="string") if c.name == "amount" else c for c in ORDERS.columns))
    api.records = [order(2**63 - 1, "<12345678901234567.8>"), order(1, "<1e400>"), "no object", [1, 2], order(5, "\ud800")]
    shop.pull()
    rows = shop.rows()
    assert sorted(rows.accepted.select("number", "amount").rows()) == [(1, "1E+400"), (2**63 - 1, "12345678901234567.8")]
    ending = "line has 6 of 5 fields; beyond the last: "
    assert shop.reasons() == [f"{ending}'a value is not Unicode text'", *[f"{ending}'is not a JSON object'"] * 2]
    assert rows.quarantined["number"].to_list()[1:] == ["no object", "[1, 2]"]
    assert shop.pull().files == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error": "maintenance"}, 'the answer has no list at $.items: {"error": "maintenance"}. Correct `records`, or ask the owner of the API.'),
        ({"items": {"number": 1}}, 'the answer has no list at $.items: {"items": {"number": 1}}. Correct `records`, or ask the owner of the API.'),
        ([1], "the answer has no list at $.items: [1]. Correct `records`, or ask the owner of the API."),
    ],
)  # fmt: skip
def test_an_answer_without_records_is_no_empty_page(shop: Shop, api: Api, answer: Any, problem: str) -> None:
    api.answer = answer
    assert failure(shop) == f"shop · orders · {api.url}?page=1 · {problem}"


def test_pages_that_never_end_are_an_error(shop: Shop, api: Api) -> None:
    api.answer = {"items": [order(1)], "next": "7", "link": api.url}
    for pages, query in ((PageNumber(), "?page=2"), (NextCursor(path="next"), "?cursor=7"), (NextLink(path="link"), "")):
        shop.source = shop.source.but(pages=pages)
        problem = "the page is the same as the one before it. Correct the declared `pages`."
        assert failure(shop) == f"shop · orders · {api.url}{query} · {problem}"


def test_the_token_is_not_sent_to_another_server(shop: Shop, api: Api) -> None:
    api.records, api.link_host = [order(number) for number in range(5)], "localhost"
    shop.source = shop.source.but(pages=NextLink())
    message = f"shop · orders · {api.url} · the next page is at another server, localhost. Ask the owner of the API."
    assert failure(shop) == message
    assert len(api.requests) == 1
    api.faults = [(302, {"Location": f"http://localhost:{api.server_port}/orders"})]
    assert "the answer is 302 Found" in failure(shop)
    assert len(api.requests) == 2


def test_a_server_that_is_down_is_one_error(shop: Shop) -> None:
    shop.source = shop.source.but(url="http://127.0.0.1:1/orders?kind=a", params={"limit": 5})
    assert failure(shop).startswith("shop · orders · http://127.0.0.1:1/orders?kind=a&limit=5&page=1 · no answer: ")
    assert shop.pauses == [1.0, 2.0, 4.0, 8.0]
    shop.secrets = {"TOKEN": f"{TOKEN}\nü"}
    problem = "found characters that no header can have; legal: printable ASCII. Correct the variable."
    assert failure(shop) == f"shop · orders · TOKEN · {problem}"


def test_a_record_that_changes_its_moment_is_a_new_version_on_its_day(shop: Shop, api: Api) -> None:
    api.records = [order(1, 1, at=day(1))]
    shop.pull()
    api.records = [order(1, 2, at=day(2))]
    assert shop.pull().files == ["2024-03-03"]


def test_records_keep_their_values_while_the_api_renames_and_adds_and_retypes_keys(shop: Shop, api: Api) -> None:
    """Old records stay as they were written, new ones come in the new form; the declaration follows a day later."""
    shop.source = shop.source.but(cursor="updated_at", since_param="since", lag=timedelta(0))
    column = {one.name: one for one in ORDERS.columns}
    whole = column["amount"].but(dtype="int", nullable=False)
    shop.contract = ORDERS.but(columns=(column["number"], whole, column["ordered_at"]))
    api.records = [order(1, 5), order(2, 7)]
    shop.pull()
    changed = order(3, "7.25", updated=day(5)) | {"note": "new"}
    changed["total"] = changed.pop("amount")
    api.records.append(changed)
    shop.pull()
    assert shop.accepted() == {1: 5, 2: 7}
    assert shop.reasons() == ["amount: missing"]
    renamed = column["amount"].but(name="total", renamed_from="amount")
    shop.contract = ORDERS.but(columns=(column["number"], renamed, column["note"], column["ordered_at"]))
    shop.pull()
    rows = shop.rows()
    assert sorted(rows.accepted.select("number", "total", "note").rows()) == [(1, 5, None), (2, 7, None), (3, 7.25, "new")]
    assert not rows.quarantined.height
