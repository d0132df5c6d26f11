"""Outside rows a value is masked in pages and logs, and every other file that contains it is listed."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.erasure.forget import forget_subject, look_for
from mlops_assets.erasure.texts import find_others, mask_texts
from mlops_assets.evaluation.report import drift_report
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from tests.erasure.killed_forget import opened
from tests.erasure.shop import FIRST, ONE, OTHERS, SHOP, Shop
from tests.erasure.subjects import build_subject
from tests.erasure.test_forget import NOW, forgotten, naming

ORDERS = [name("shop", "orders") for name in (names.raw, names.validated, names.quarantine)]


def publish_drift_page(root: Path) -> Path:
    """As the drift monitor does, of a line whose model reads the customer."""
    registry = opened(root)[1].registry
    rows = pl.DataFrame({"customer_id": [ONE, *OTHERS] * 10, "amount": [float(number) for number in range(100)]})
    columns = {"numeric": ["amount"], "categorical": ["customer_id"]}
    page = drift_report(rows, rows, **columns, drifted=(), seed=names.SEED)
    run = registry.tracked(registry.version(names.registered_model("shop"), 1).run_id)
    run.log_file("drift_report.html", page)
    return run.folder / "drift_report.html"


@pytest.mark.slow
def test_pages_and_logs_lose_the_value_and_nothing_else(root: Path) -> None:
    page, log = publish_drift_page(root), Home(root / "home").logs / "service.log"
    log.parent.mkdir()
    log.write_text(f"request failed · order of {ONE} · {ONE}x\norder of {OTHERS[0]}\n")
    before = page.read_text()
    assert ONE in before
    done = forgotten(root)
    assert page.read_text() == before.replace(ONE, "*" * len(ONE)) != before
    assert log.read_text() == f"request failed · order of ********* · {ONE}x\norder of {OTHERS[0]}\n"
    assert naming(root) == {"logs/service.log"}, "as a part of another word"
    assert done.found.rows["other pages and logs"] == before.count(ONE) + 1
    assert done.still == {}


def test_every_file_that_contains_the_value_afterwards_is_listed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, is_recorded=True)
    shop.land()
    shop.materialize(*ORDERS, first=FIRST, last=FIRST)
    for name in ("deployments/shop/model.onnx", "rollouts/notes", "dagster/history/runs/of_an_earlier_release.db"):
        (shop.home.root / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.home.root / name).write_bytes(b"\x00\x09" + ONE.encode() + b"\xff")
    left = next(text for text in forgotten(tmp_path).found.left if "as text" in text)
    remaining = naming(tmp_path)
    assert {name.split("/")[0] for name in remaining} == {"dagster", "deployments", "rollouts"}
    assert [name for name in remaining if name not in left] == []
    assert "Wipe its runs in Dagster" in left and ONE not in left


def test_the_ledger_gets_no_value_from_a_reason_or_a_file_name(root: Path) -> None:
    stray = Home(root / "home").landing / "shop" / f"export of {ONE}.csv"
    stray.write_text(ONE)
    subject, stores = opened(root)
    done = forget_subject(SHOP, subject, stores, why=f"letter of {ONE}, 3 May", by="Ada", at=NOW)
    assert any(stray.name in text for text in done.found.left), "the person at the terminal can find it"
    assert done.record is not None and done.record.body["why"] == "letter of ***, 3 May"
    assert any("export of ***.csv" in text for text in done.record.body["left"])
    assert naming(root) == {stray.relative_to(root / "home").as_posix()}


@pytest.mark.parametrize("text", ['Ann "A&B" <1>', "Jürgen", "a.b.c"])
def test_the_value_is_found_escaped_as_in_html_and_json(tmp_path: Path, text: str) -> None:
    subject, page = build_subject(text, "name"), tmp_path / "reports" / "page.html"
    page.parent.mkdir()
    page.write_text("".join(f"<b>{spelling.decode()}</b>" for spelling in sorted(subject.spellings)) + "axbxc")
    count = len(subject.spellings)
    assert [mask_texts(Home(tmp_path), subject, dry_run=dry) for dry in (True, False, True)] == [count, count, 0]
    assert "axbxc" in page.read_text()


def test_a_number_is_never_masked_and_a_short_value_not_searched(tmp_path: Path) -> None:
    page = tmp_path / "reports" / "page.html"
    page.parent.mkdir()
    page.write_text('{"rows": 1234567, "width": 42}')
    number, short = build_subject("1234567", "id", number=True), build_subject("42", "id", number=True)
    assert [mask_texts(Home(tmp_path), subject, dry_run=False) for subject in (number, short)] == [0, 0]
    assert [find_others(Home(tmp_path), subject) for subject in (number, short)] == [["reports/page.html"], []]


def test_a_use_case_whose_value_is_short_is_warned(root: Path) -> None:
    subject, stores = opened(root)
    left = look_for(SHOP, replace(subject, text="c-1"), stores).left
    assert any("so short a value" in text for text in left)
