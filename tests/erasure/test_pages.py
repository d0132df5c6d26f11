"""A subject's examples are erased from side-by-side pages, and all else stays on them."""

from pathlib import Path
from typing import Any

import pytest

from mlops_assets.erasure.stores import erase_from_pages
from tests.erasure.subjects import build_subject
from tests.training.two_models import compare_models, pictures


def example(tailnum: str, flight: int) -> dict[str, Any]:
    facts = {"tailnum": tailnum, "flight": str(flight), "event_timestamp": "2013-07-01 12:00"}
    return {"facts": facts, "truth": True, "champion": 0.2, "candidate": 0.4}


def page_of(folder: Path, *tailnums: str) -> Path:
    page, rows = folder / "run" / "side_by_side.html", [example(tailnum, 42) for tailnum in tailnums]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(compare_models()._replace(gained=rows, lost=rows[:1]).to_html(pictures()))
    return page


@pytest.mark.parametrize("tailnum", ["N14228", "A&B <1>"])
def test_only_the_examples_of_the_subject_are_erased(tmp_path: Path, tailnum: str) -> None:
    page = page_of(tmp_path / "erased", tailnum, "N24211")
    subject = build_subject(tailnum, "tailnum")
    counts = [erase_from_pages(tmp_path / "erased", subject, dry_run=dry) for dry in (True, False, True)]
    assert counts == [2, 2, 0]
    text, expected = page.read_text(), page_of(tmp_path / "expected", "N24211").read_text()
    assert "N24211" in text and "N14228" not in text and "A&amp;B" not in text
    assert text.count("<tr><td data-label") == expected.count("<tr><td data-label") - 1  # `lost` has none left


def test_a_number_is_erased_as_that_column_alone(tmp_path: Path) -> None:
    page = page_of(tmp_path, "N14228", "N24211")
    before = page.read_text()
    assert erase_from_pages(tmp_path, build_subject("42", "customer_id", number=True), dry_run=False) == 0
    assert page.read_text() == before
