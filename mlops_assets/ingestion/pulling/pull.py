"""One run of a pulled source: new rows into the files of their partitions, and then, as the last step, how far it has read."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.pulling.credentials import hide
from mlops_assets.ingestion.pulling.positions import Position, positions_of
from mlops_assets.ingestion.pulling.rows import Buffer, CannotPull, Row, merge
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.pulled_source import Http, PulledSource, Sql, Stream
from mlops_assets.spec.use_case import UseCase


class Part(NamedTuple):
    """Some rows, and the position after them and all before."""

    rows: list[Row]
    position: Position


class Reader(Protocol):
    """`reads` says what a position counts in; after another `reads`, the source is read from the start. `replaces`: all rows are
    read each time.
    """

    @property
    def reads(self) -> str: ...
    @property
    def replaces(self) -> bool: ...

    def read(self, position: Position | None, now: datetime) -> Iterator[Part]:
        """From the position on (None: from the start). What is read again, as after a kill, replaces what landed before."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Tells the source that the rows up to here have landed. It raises no error, as they have."""
        ...


class Pulled(NamedTuple):
    """`read` rows came from the source; `outside` of them are of undeclared days and did not land. `files`: the partitions whose
    files have changed.
    """

    read: int
    outside: int
    files: list[str]


def open_reader(
    source: PulledSource, use_case: UseCase, secrets: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> Reader:
    """`secrets`: the values of the source's variables."""
    contract = use_case.contract(source.table)
    match source:
        case Sql():
            from mlops_assets.ingestion.pulling.sql import SqlReader

            return SqlReader(source, contract, secrets[source.url_variable])
        case Http():
            from mlops_assets.ingestion.pulling.http import HttpReader

            return HttpReader(source, contract, secrets.get(source.token_variable or ""), sleep)
        case Stream():
            from mlops_assets.ingestion.pulling.stream import StreamReader

            return StreamReader(source, contract, secrets[source.brokers_variable], secrets.get(source.login_variable or ""))
        case _:
            raise TypeError(type(source))


def pull(
    source: PulledSource,
    use_case: UseCase,
    *,
    landing: Landing,
    secrets: Mapping[str, str],
    now: datetime,
    anew: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Pulled:
    """Raises CannotPull, and then has changed no file. `anew` reads from the start; `sleep` waits before a request's new try.

    A kill at any moment loses nothing and doubles nothing: files replace files, and what is read twice has the same key.
    """
    where = f"{use_case.name} · {source.table}"
    if missing := [name for name in source.variables if not secrets.get(name)]:
        raise CannotPull(f"{where} · {', '.join(missing)}: the environment variable is not set. Set it, and pull again.")
    reader, positions = open_reader(source, use_case, secrets, sleep), positions_of(landing, use_case.name, source.table)
    contract = use_case.contract(source.table)
    rows = Buffer(use_case, source, now)
    try:
        with positions.reserved():
            before = position = None if anew else positions.read(reader.reads)
            for part in reader.read(position, now):
                rows.add(part.rows)
                position = part.position
            files = _land(rows.by_partition(), landing.root / use_case.name / source.table, source, contract, reader.replaces)
            if position != before:
                positions.write(reader.reads, position)
                reader.acknowledge(position)
    except CannotPull as error:
        raise CannotPull(f"{where} · {hide(str(error), secrets.values())}") from None
    return Pulled(rows.read, rows.outside, files)


def _land(new: Mapping[str, pl.DataFrame], folder: Path, source: PulledSource, contract: Contract, replaces: bool) -> list[str]:
    """The partitions whose files have changed."""
    landed = {path.stem for path in folder.glob("[!.]*.csv")}
    if replaces and landed and not new:
        problem = f"the source has no rows, and would retract the {len(landed)} landed files"
        raise CannotPull(f"{problem}. Correct the source, or delete the files.")
    changed: list[str] = []
    for key in sorted({*new, *landed} if replaces else new):
        rows = new[key].iter_rows() if key in new else ()
        if merge(folder / f"{key}.csv", contract, rows, replaces=replaces, version=source.version):
            changed.append(key)
    return changed
