"""The landing folder: one CSV file per table and day, read as text without losing a line."""

import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import polars as pl
import polars.selectors as cs

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.ingestion.csv_lines import WHOLE_FILE, columns_in, escape, find_header_problem
from mlops_assets.ingestion.forms import read_table
from mlops_assets.ingestion.forms.table import UnreadableFile
from mlops_assets.ingestion.landed_file import Hashed, content_digest, describe, opened, read_bytes
from mlops_assets.ingestion.refused_days import RefusedDays
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv, Form
from mlops_assets.spec.source import Files

CSV = Csv()
DATETIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.fZ"  # with a fraction where there is one
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
NEARLY = re.compile(r"(?!\.)(.*\.csv|.*\d{4}\D?\d{1,2}\D?\d{1,2}|.*\d{1,2}\D\d{1,2}\D\d{4})", re.IGNORECASE | re.DOTALL)
# Partial files of a process that was killed before the rename: of replace_file, and of an earlier release.
LEFTOVER = re.compile(r"\.new-.*|\..*\.part")
MAX_BYTES = Files.model_fields["max_bytes"].default
LANDED = ("source_file", "source_digest", "problem")
WAIVED = "-waived"  # makes another version of a file whose day is used although it failed, so that the day runs again
SETTLED_S = 2.0  # an older change has another time stamp than the next one, on every file system


class BrokenDelivery(ValueError):
    """A landed file that cannot be read, or has not the contract's columns."""


class MissingDelivery(FileNotFoundError):
    """A required file that has not landed."""


class Landed(NamedTuple):
    """The entries of one table's folder. `digests`: ISO day -> 12 hex digits over the file's content, ending in WAIVED where
    its failed checks are waived, in the order of the days. `faults`: name -> why an entry is not read although it looks like a
    delivery; it concerns no other entry.
    """

    digests: dict[str, str]
    faults: dict[str, str]


@dataclass(frozen=True)
class Landing:
    """Files at `root`/<use_case>/<table>/<YYYY-MM-DD>.csv. `clock`: seconds since the epoch."""

    root: Path
    clock: Callable[[], float] = time.time
    form: Form = CSV

    def of(self, form: Form) -> "Landing":
        """The same folder, with files of another form."""
        return replace(self, form=form)

    def path(self, use_case: str, table: str, day: date) -> Path:
        """The file that has landed, or else the usual name of it."""
        paths = [self.root / use_case / table / f"{day.isoformat()}{suffix}" for suffix in self.form.suffixes]
        return next((path for path in paths if os.path.lexists(path)), paths[0])

    def put(self, use_case: str, table: str, *, day: date, rows: pl.DataFrame) -> bool:
        """Writes one day's file atomically, with datetimes as UTC (`2013-07-01T14:05:00Z`).

        Returns whether the content is new; an identical file is left untouched.
        """
        path = self.of(CSV).path(use_case, table, day)
        in_utc = rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))
        content = in_utc.write_csv(datetime_format=DATETIME_FORMAT).encode()
        with suppress(OSError):  # what cannot be read is replaced
            if read_bytes(path, len(content)) == content:
                return False
        replace_file(path, content)
        return True

    def digests(self, use_case: str, table: str) -> dict[str, str]:
        return self.scan(use_case, table).digests

    def scan(self, use_case: str, table: str, *, max_bytes: int = MAX_BYTES) -> Landed:
        """Whatever one entry is, all others are scanned. A file is read again only after a change."""
        folder, landed = self.root / use_case / table, Landed({}, _similar_folders(self.root / use_case, table))
        try:
            names = sorted(entry.name for entry in os.scandir(folder)) if os.path.lexists(folder) else []
        except OSError as error:
            return Landed({}, {table: f"the folder cannot be read: {error.strerror}"})
        for name in names:
            try:
                if (day := self.day_of(name)) in landed.digests:
                    other = self.path(use_case, table, date.fromisoformat(day)).name
                    landed.faults[escape(name)] = f"it is not read, as {other} is of the same day. Remove one of them"
                elif day:
                    landed.digests[day] = self._digest(folder / name, max_bytes)
                elif NEARLY.match(name) or (name[0] != "." and name.lower().endswith(self.form.suffixes)):
                    legal = f"<YYYY-MM-DD>{self.form.SUFFIX}"
                    landed.faults[escape(name)] = f"the name is not that of a day file; legal: {legal}. Rename it"
            except OSError as error:
                if os.path.lexists(folder / name):  # it may have been removed meanwhile
                    landed.faults[escape(name)] = describe(error)
        for day, refusal in self.refused(use_case, table).read().items():
            if refusal.waiver and landed.digests.get(day.isoformat()) == refusal.file:
                landed.digests[day.isoformat()] += WAIVED
        return landed

    def refused(self, use_case: str, table: str) -> RefusedDays:
        return RefusedDays(self.root / use_case / f".{table}.refused.json")

    def digest(self, use_case: str, table: str, day: date, *, max_bytes: int = MAX_BYTES) -> str:
        """Of the landed file of one day; empty without a readable file."""
        with suppress(OSError):
            return self._digest(self.path(use_case, table, day), max_bytes)
        return ""

    def digests_of(
        self, use_case: str, contract: Contract, raw: pl.DataFrame, days: Sequence[date], *, max_bytes: int = MAX_BYTES
    ) -> dict[date, str]:
        """The digest of the bytes that the `raw` rows of each day were read from, which may not be those of the file any more.
        Empty where no file can be used, or the day had no rows and its file has some now.
        """
        digests: dict[date, str | None] = dict(raw.group_by("day").agg(pl.col("source_digest").first()).iter_rows())
        for day in (day for day in days if day not in digests):
            with suppress(BrokenDelivery):
                rows, digest = self._parse(self.path(use_case, contract.table, day), contract, day, max_bytes)
                digests[day] = "" if rows.height else digest
        # Rows of an earlier release have none.
        stored = {
            day: self.digest(use_case, contract.table, day, max_bytes=max_bytes) if digest is None else digest
            for day, digest in digests.items()
        }
        return dict.fromkeys(days, "") | stored

    def _digest(self, path: Path, max_bytes: int) -> str:
        stat = path.stat()
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        is_settled = self.clock() - stat.st_ctime > SETTLED_S
        return (content_digest if is_settled else content_digest.__wrapped__)(path, max_bytes, version)

    def read(
        self,
        use_case: str,
        contract: Contract,
        days: Sequence[date],
        *,
        required: bool,
        known: Collection[date] = (),
        max_bytes: int = MAX_BYTES,
    ) -> pl.DataFrame:
        """The rows of these days: the contract's columns as String, exactly as landed, `day` (Date), `source_file` (String,
        relative to `root`), `source_line` (Int64, the header is line 1), `source_digest` (String, of the bytes that were read)
        and `problem` (String, null if the row was parsed).

        An empty value is "", a missing one null; blank lines are skipped. A line without a line end has a problem: its
        last value may be incomplete. Of a broken file, and of an absent one of a `known` day, there is one row, with the
        problem of the whole file. Another absent file has no rows, or raises MissingDelivery if `required`.
        """
        paths = {day: self.path(use_case, contract.table, day) for day in days}
        for day, path in paths.items():
            if required and day not in known and not os.path.lexists(path):
                raise MissingDelivery(
                    f"{use_case} · {contract.table} · {day}: no file has landed; expected {self._relative(path)}. "
                    f"Ask its owner to deliver it, then materialize raw/{contract.table} for that day again."
                )
        schema = dict.fromkeys((*contract.names, *LANDED), pl.String()) | {"day": pl.Date(), "source_line": pl.Int64()}
        frames = [pl.DataFrame(schema=schema)]
        for day, path in paths.items():
            if day in known or os.path.lexists(path):
                try:
                    frames.append(self.read_file(path, contract, day, max_bytes=max_bytes))
                except BrokenDelivery as error:
                    row = {"source_file": self._relative(path), "source_digest": "", "problem": str(error)}
                    frames.append(pl.DataFrame([row | {"day": day, "source_line": WHOLE_FILE}], schema=schema))
        return pl.concat(frames)

    def files(self, use_case: str, table: str, *, leftovers: bool = False) -> list[Path]:
        """The day files in the order of their names, with `leftovers` also those of killed processes."""
        folder = self.root / use_case / table
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file()) if folder.is_dir() else []
        return [folder / name for name in names if self.day_of(name) or (leftovers and LEFTOVER.fullmatch(name))]

    def read_file(self, path: Path, contract: Contract, day: date, *, max_bytes: int = MAX_BYTES) -> pl.DataFrame:
        """One file under `root`, as `read`. Raises BrokenDelivery for a file that cannot be read, is empty or whose columns are
        not the contract's of its day.
        """
        return self._parse(path, contract, day, max_bytes)[0]

    def _parse(self, path: Path, contract: Contract, day: date, max_bytes: int) -> tuple[pl.DataFrame, str]:
        """The rows of a file, and the digest of the bytes that they were read from."""
        where = self._relative(path)
        try:
            with opened(path, max_bytes) as content:
                file = Hashed(content)
                table = read_table(cast(BinaryIO, file), path.name, self.form, contract=contract, max_bytes=max_bytes)
                header_problem = find_header_problem(table.header, contract, day, delimiter=table.delimiter)
                if problem := header_problem or table.cut:
                    raise BrokenDelivery(f"{where} · {problem}. Correct the file and land it again, or change the contract.")
                needed = [name if name in contract.names else None for name in columns_in(table.header, contract)]
                columns, parts = [name for name in needed if name], [*table.rows(needed)]
                file.drain()
        except UnreadableFile as error:
            raise BrokenDelivery(f"{where} · {error}.") from None
        except OSError as error:
            raise BrokenDelivery(f"{where} · {describe(error)}.") from None
        digest = file.hash.hexdigest()
        schema = dict.fromkeys((*columns, "problem"), pl.String()) | {"source_line": pl.Int64()}
        rows = pl.concat([pl.DataFrame(schema=schema), *(part.select(*schema) for part in parts)]).select(
            *(pl.col(name) if name in columns else pl.lit(None, pl.String()).alias(name) for name in contract.names),
            "problem",
            "source_line",
            source_file=pl.lit(where),
            source_digest=pl.lit(digest),
            day=pl.lit(day),
        )
        return rows.select(*contract.names, *LANDED, "day", "source_line"), digest

    def day_of(self, name: str) -> str:
        """The day in the name of a file of this form; empty for another name."""
        for suffix in self.form.suffixes:
            with suppress(ValueError):
                if DAY.fullmatch(day := name.removesuffix(suffix)) and day != name:
                    return date.fromisoformat(day).isoformat()
        return ""

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def describe_broken(rows: pl.DataFrame) -> str:
    """The problem of each broken file; empty without any."""
    return " ".join(rows.filter(pl.col("source_line") == WHOLE_FILE)["problem"])


def _similar_folders(folder: Path, table: str) -> dict[str, str]:
    """Entries next to a table's folder that differ from it in case and punctuation only."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name.removesuffix(".csv")).casefold()

    with suppress(OSError):
        found = [name for name in os.listdir(folder) if name != table and plain(name) == plain(table)]
        return {f"../{escape(name)}": f"it is not read; legal: {table}/<YYYY-MM-DD>.csv. Move its files there" for name in found}
    return {}
