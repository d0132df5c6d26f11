"""Code that catches every exception has the reason in a comment on the same line."""

import re
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT

FILES = [path for folder in ("mlops_assets", "deploy", "feature_repo") for path in (PROJECT / folder).rglob("*.py")]
CATCH_ALL = re.compile(r"^\s*except\s*:|\b(?:except|suppress\b)[^#:]*\b(?:Base)?Exception\b")
REASON = re.compile(r"#\s*(?:noqa: \w+ - )?(?!noqa)\S+(?: \S+){2}")


def unexplained(text: str) -> list[int]:
    """The numbers of the lines that catch everything without a reason."""
    lines = enumerate(text.splitlines(), start=1)
    return [number for number, line in lines if CATCH_ALL.search(line) and not REASON.search(line)]


def test_every_catch_all_has_its_reason_on_its_line() -> None:
    places = {str(path.relative_to(PROJECT)): unexplained(path.read_text()) for path in sorted(FILES, key=Path.as_posix)}
    assert {path: lines for path, lines in places.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "is_explained"),
    [
        ("except Exception as error:  # a model may raise anything", True),
        ("except Exception as error:  # noqa: BLE001 - a model may raise anything", True),
        ("except Exception as error:  # noqa: BLE001", False),
        ("except (ValueError, BaseException):", False),
        ("except:", False),
        ("with suppress(Exception):", False),
        ("except ValueError:", True),
    ],
)
def test_the_reason_is_words_and_not_the_code_of_a_linter(line: str, is_explained: bool) -> None:
    assert (unexplained(line) == []) is is_explained
