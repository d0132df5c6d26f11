"""Names of columns in a contract, made from any header: letters, digits and underscores of ASCII."""

import keyword
import re
import unicodedata
from collections.abc import Sequence

from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.spec.contract import RESERVED
from mlops_assets.spec.feature import ADDED

LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "o", "å": "a", "ł": "l", "đ": "d", "€": "eur"}
)
MAX_CHARACTERS = 50
# Names that Dagster refuses for an input, besides the keywords of Python.
IN_DAGSTER = (
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict", "int", "str", "float", "bool",
    "input", "output", "type",
)  # fmt: skip
# Columns of the prediction log, which serving/ declares.
LOGGED = (
    "prediction_id", "answered_at", "trace_id", "plan", "arm", "model_version", "model_digest", "features_from", "latency_ms",
    "call", "model_ms", "challenger_failed", "probability", "probabilities", "decision", "prediction", "low", "high",
    "champion_probability", "champion_probabilities", "champion_decision", "champion_prediction", "champion_low", "champion_high",
    FEATURE_AGE_S,
)  # fmt: skip


def table_name(stem: str) -> str:
    """A name for the table of a file."""
    name = plain_name(stem, "rows")
    return f"{name}_rows" if keyword.iskeyword(name) or name in IN_DAGSTER else name


def plain_name(header: str, fallback: str) -> str:
    """Without a letter of the Latin alphabet it is the fallback."""
    text = header.strip().translate(LETTERS)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower().translate(LETTERS)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", text).strip("_")[:MAX_CHARACTERS].strip("_")
    if not re.search("[a-z]", name):
        return f"{fallback}_{name}" if name else fallback
    return name if name[0].isalpha() else f"n_{name}"


def column_names(headers: Sequence[str]) -> tuple[str, ...]:
    """One for each header, all different, and none that Python or the platform uses."""
    names: list[str] = []
    for place, header in enumerate(headers, start=1):
        name = plain_name(header, f"column_{place}")
        name = f"{name}_value" if keyword.iskeyword(name) or name in (*RESERVED, *ADDED, *LOGGED) else name
        number = 1
        while (unique := name if number == 1 else f"{name}_{number}") in names:
            number += 1
        names.append(unique)
    return tuple(names)
