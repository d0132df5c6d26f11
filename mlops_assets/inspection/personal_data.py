"""Guesses which columns are personal data, by header and by values: a person decides."""

import re

import polars as pl

from mlops_assets.inspection.formats import share_matching

# Of a header in lower case; a part of a longer word is none.
WORDS = {
    r"e-?mail|mail": "e-mail addresses", r"phone|telefon|tel|mobile|handy|fax": "telephone numbers",
    r"(first|last|full|sur|given|family)_?name|vorname|nachname|name": "names of people",
    r"iban|account_?(no|number)": "bank accounts",
    r"ssn|social_security|passport|tax_?id|steuernummer": "numbers of an office",
    r"address|adresse|street|strasse|straße|anschrift": "addresses", r"birth\w*|dob|geburt\w*|geboren": "days of birth",
    r"ip|ip_?address": "network addresses", r"credit_?card|card_?(no|number)|kreditkarte": "card numbers",
    r"gps|latitude|longitude": "places",
}  # fmt: skip
VALUES = {
    r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}": "e-mail addresses",
    r"\+\d[\d ()/-]{6,}": "telephone numbers",
    r"[A-Z]{2}\d{2}[ A-Z0-9]{11,30}": "bank accounts",
    r"(\d{1,3}\.){3}\d{1,3}": "network addresses",
    r"(\d{4}[ -]){3}\d{4}": "card numbers",
}
MIN_SHARE = 0.8
MAX_VALUES = 500


def personal_data(header: str, values: pl.Series) -> str:
    """Why the column may be personal data; empty where nothing shows it. `values` are text, without missing ones."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", header).lower()
    some = values.head(MAX_VALUES)
    for pattern, kind in VALUES.items():
        if share_matching(some, f"^({pattern})$") >= MIN_SHARE:
            return f"its values look like {kind}"
    for pattern, kind in WORDS.items():
        if re.search(rf"(?<![^\W_])({pattern})(?![^\W_])", words):
            return f"its name suggests {kind}"
    return ""
