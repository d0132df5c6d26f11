"""From a file to a use case of its own: inspected, proposed, tried on its rows, written."""

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx
import polars as pl

from mlops_assets.inspection.column_names import plain_name, table_name
from mlops_assets.inspection.proposal import Ask, NoKey, Proposal, Wishes, propose
from mlops_assets.inspection.read_again import read_again
from mlops_assets.inspection.table_file import ROW_NUMBER, NoTable, TableFile, numbered, read_table_file
from mlops_assets.inspection.written_use_case import Target, write_use_case
from mlops_assets.spec.use_case import UseCase

SAMPLE_ROWS = 20
MAX_REASONS = 3
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TIMEOUT_S = 30


@dataclass(frozen=True)
class NewUseCase:
    """`file` has its first rows, of which the contract accepts `accepted`. `files` were written. `assumptions` are a sentence
    each. `suffix`: how the name of a landed file ends.
    """

    use_case: UseCase
    file: Path
    accepted: pl.DataFrame
    files: tuple[Path, ...]
    assumptions: tuple[str, ...]
    rows: int
    quarantined: int
    suffix: str


def make_use_case(
    name: str, path: Path, *, owner: str, wishes: Wishes, target: Target, folder: Path, today: date, ask: Ask | None = None
) -> NewUseCase:
    """A copy with numbered rows is written to `folder`, where no column identifies them. Raises NoTable; then no use case is
    written.
    """
    require_free(name, target)
    table, rows_of = read_table_file(path), table_name(path.name.split(".")[0])
    declare = partial(propose, name=name, table_name=rows_of, owner=owner, today=today, ask=ask)
    try:
        proposal = declare(table, wishes=wishes)
    except NoKey:
        path = folder / f"{rows_of}_numbered.csv"
        table = numbered(table, path)
        proposal = declare(table, wishes=replace(wishes, keys=(ROW_NUMBER,)))
        note = (
            f"no column identifies a row: {path.name} has the rows with a number each. Land this file, and number later rows on"
        )
        proposal = replace(proposal, assumptions=(note, *proposal.assumptions))
    rows = _named_rows(table, proposal)
    split = read_again(proposal.use_case, rows)
    if split.accepted.is_empty():
        reason = split.quarantined["reasons"][0]
        raise NoTable(f"{path.name} · no row satisfies a contract, such as for {reason}. Correct the file.")
    assumptions = (*proposal.assumptions, *_describe_quarantine(split.quarantined, rows.height, proposal.use_case))
    accepted = rows[[*({*range(rows.height)} - {*split.quarantined["source_line"]})]]
    files = write_use_case(proposal, _sample(accepted, proposal.use_case), path.name, target)
    quarantined = split.quarantined.height
    return NewUseCase(proposal.use_case, path, split.accepted, files, assumptions, rows.height, quarantined, table.suffix)


def require_free(name: str, target: Target) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        legal = "lower-case letters, digits and _, the first a letter, and no word of Python"
        raise NoTable(f"NAME · found {name!r}; legal: {legal}, such as {plain_name(name, 'my_model')}. Choose another name.")
    for taken in (target.folder / name, target.folder / f"{name}.py", target.tests / name):
        if taken.exists():
            raise NoTable(f"NAME · {name!r} is taken: {taken} exists. Choose another name, or remove it.")


def download(url: str, folder: Path) -> Path:
    """The file behind an address, under its own name in the folder. Raises NoTable."""
    name = PurePosixPath(urlsplit(url).path).name or "table.csv"
    path = folder / name
    if path.exists():
        raise NoTable(f"--from · {path} exists already. Use it in place of the address, or remove it.")
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT_S) as response:
            response.raise_for_status()
            content = b"".join(response.iter_bytes())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise NoTable(
            f"--from · {url} cannot be fetched: {reason}. Correct the address, or download the file yourself."
        ) from None
    path.write_bytes(content)
    return path


def _named_rows(table: TableFile, proposal: Proposal) -> pl.DataFrame:
    """The texts by the names of the contract."""
    places = {header: f"c{place}" for place, header in enumerate(table.distinct_headers)}
    return table.rows.select(
        pl.col(places[column.header]).alias(column.name) for column in proposal.use_case.contracts[0].columns
    )


def _describe_quarantine(quarantined: pl.DataFrame, rows: int, use_case: UseCase) -> Iterator[str]:
    if quarantined.is_empty():
        return
    reasons = ", ".join(quarantined["reasons"].unique(maintain_order=True).head(MAX_REASONS))
    yield f"{quarantined.height:,} of {rows:,} rows {'goes' if quarantined.height == 1 else 'go'} to quarantine: {reasons}"
    bound = use_case.contracts[0].max_bad_share
    if quarantined.height > bound * rows:
        yield f"these are more than {bound:.0%}, so that the file is refused: correct it, or raise max_bad_share of the contract"


def _sample(rows: pl.DataFrame, use_case: UseCase) -> pl.DataFrame:
    """The first rows, and the first ones of other labels."""
    label = rows[use_case.task.label_name]
    firsts = rows.with_row_index("row").filter(label.is_first_distinct())["row"].head(SAMPLE_ROWS // 2)
    return rows[sorted({*range(min(SAMPLE_ROWS // 2, rows.height))} | {*firsts})]
