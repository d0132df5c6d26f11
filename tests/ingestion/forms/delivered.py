"""One delivered file, from its bytes to the validated rows and the reasons of the others."""

from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Form

DAY = date(2024, 3, 1)


class Delivered(NamedTuple):
    """`rows` are accepted, as tuples of the contract's columns; `reasons` are of the others, by line."""

    rows: list[tuple[Any, ...]]
    reasons: dict[int, str]


def column(name: str, dtype: Any, **fields: Any) -> Column:
    return Column(name=name, dtype=dtype, description="x", **{"nullable": True, **fields})


def contract(*columns: Column, **fields: Any) -> Contract:
    return Contract(table="t", description="x", columns=columns, unique=(columns[0].name,), **fields)


def deliver(folder: Path, content: bytes, form: Form, declared: Contract, suffix: str | None = None, **limits: int) -> Delivered:
    landing = Landing(folder).of(form)
    path = folder / "line" / "t" / f"{DAY}{suffix or form.SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    raw = landing.read("line", declared, [DAY], required=True, **limits)
    assert {*raw["source_digest"]} <= {landing.digest("line", "t", DAY), ""}
    split = split_rows(raw, declared, form)
    quarantined = split.quarantined
    assert split.accepted.height + quarantined.height == raw.height
    path.unlink()
    return Delivered(
        split.accepted.drop("day").rows(), dict(zip(quarantined["source_line"], quarantined["reasons"], strict=True))
    )
