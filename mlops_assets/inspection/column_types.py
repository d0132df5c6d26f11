"""The type of a column, from the texts of its values."""

from typing import Any

import polars as pl

from mlops_assets.inspection.formats import share_matching, share_read
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.form import Form

# Words that mean yes, and those that mean no, in lower case: a column has words of one line alone.
BOOLEANS = (
    (("yes", "y"), ("no", "n")), (("true", "t"), ("false", "f")), (("ja", "j"), ("nein", "n")), (("ja",), ("nej", "nee")),
    (("wahr",), ("falsch",)), (("oui", "o"), ("non", "n")), (("vrai",), ("faux",)), (("sí", "si", "s"), ("no", "n")),
    (("sì", "si"), ("no",)), (("vero",), ("falso",)), (("sim", "s"), ("não", "nao", "n")), (("tak", "t"), ("nie", "n")),
    (("ano",), ("ne",)), (("áno",), ("nie",)), (("igen",), ("nem",)), (("da",), ("nu", "ne")), (("да",), ("нет",)),
    (("evet",), ("hayır",)), (("kyllä",), ("ei",)), (("ναι",), ("όχι",)), (("是",), ("否",)), (("はい",), ("いいえ",)),  # noqa: RUF001
    (("예",), ("아니요",)), (("on",), ("off",)), (("1.0",), ("0.0",)), (("verdadero",), ("falso",)),
    (("yes", "y", "true", "t", "1"), ("no", "n", "false", "f", "0")),
)  # fmt: skip
INTEGER, LEADING_ZERO = r"^[+-]?\d+$", r"^[+-]?0\d"
MAX_SPELLINGS = 40
NEARLY = 0.99  # of the values have a type: the others go to quarantine
FLOAT_DIGITS, MAX_DIGITS = 15, 36


def find_type(words: pl.Series, values: pl.Series, form: Form) -> tuple[DType, dict[str, Any]]:
    """The type of all values, or of nearly all, with the fields of Column that it needs. `words` are the distinct `values`."""
    if (booleans := _booleans(words)) is not None:
        return "bool", booleans
    if _has_days_of_digits(words, form):
        return "date", {}
    if share_matching(words, INTEGER) == 1:
        # Beyond 2^63 and with zeros in front they are names, of which a number would lose digits.
        is_number = not share_matching(words, LEADING_ZERO) and share_read(words, "int", form) == 1
        return ("int" if is_number else "string"), {}
    candidates: tuple[DType, ...] = ("int", "float", "date", "datetime")
    for dtype in candidates:
        if len(words) and share_read(words.head(1000), dtype, form) > 0.5 and share_read(values, dtype, form) >= NEARLY:
            return _with_digits(words, form) if dtype == "float" else (dtype, {})
    return "string", {}


def _booleans(words: pl.Series) -> dict[str, Any] | None:
    """The words that mean yes and no, where true and false are not enough; None: it is no boolean."""
    if not 2 <= len(words) <= MAX_SPELLINGS:
        return None
    spellings = sorted({str(word).lower() for word in words})
    plain = {word.strip() for word in spellings}
    for yes, no in BOOLEANS:
        if plain <= {*yes, *no} and plain & {*yes} and plain & {*no} and not plain <= {"0", "1"}:
            # A word with blanks is a word of its own, as no blank is removed from a landed value.
            own = {"yes": _spelled(spellings, yes), "no": _spelled(spellings, no)}
            return {} if spellings == ["false", "true"] else own
    return None


def _spelled(spellings: list[str], words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for word in words for one in spellings if one.strip() == word)


def _has_days_of_digits(words: pl.Series, form: Form) -> bool:
    return form.date_format == "%Y%m%d" and len(words) > 0 and share_read(words, "date", form) == 1


def _with_digits(words: pl.Series, form: Form) -> tuple[DType, dict[str, Any]]:
    """A decimal where every number has the same digits after the point, and together more than a float holds."""
    decimal, thousands = form.number_marks
    plain = words.str.replace_all(thousands, "", literal=True) if thousands else words
    parts = plain.str.strip_chars("+-").str.split_exact(decimal, 1).struct.unnest()
    whole, fraction = parts["field_0"].str.len_chars(), parts["field_1"].str.len_chars()
    scale = int(fraction[0] or 0) if fraction.n_unique() == 1 else 0
    digits = max([scale + length for length in whole.drop_nulls()])
    is_decimal = scale and FLOAT_DIGITS < digits <= MAX_DIGITS
    return ("decimal", {"precision": digits + 2, "scale": scale}) if is_decimal else ("float", {})
