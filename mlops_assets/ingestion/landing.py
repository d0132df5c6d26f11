"""The landing folder: one CSV file per table and partition, read as text without losing a line."""

import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import polars as pl
import polars.selectors as cs

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.calendars import DAY, UTC_DAYS, Calendar, IllegalKey, Partition
from mlops_assets.ingestion.csv_lines import WHOLE_FILE, columns_in, escape, find_header_problem
from mlops_assets.ingestion.forms import read_table
from mlops_assets.ingestion.forms.table import UnreadableFile
from mlops_assets.ingestion.landed_file import Hashed, content_digest, describe, opened, read_bytes
from mlops_assets.ingestion.refusals import NOTHING, Refusals, UnreadableRefusals
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv, Form
from mlops_assets.spec.source import Files

CSV = Csv()
DATETIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.fZ"  # with a fraction where there is one
# Partial files of a process that was killed before the rename: of replace_file, and of an earlier release.
LEFTOVER = re.compile(r"\.new-.*|\..*\.part")
MAX_BYTES = Files.model_fields["max_bytes"].default
LANDED = ("source_file", "source_digest", "problem")
WAIVED = "-waived"  # makes another version of a file that is used although it failed, so that its partition runs again
SETTLED_S = 2.0  # an older change has another time stamp than the next one, on every file system


class BrokenDelivery(ValueError):
    """A landed file that cannot be read, or has not the contract's columns."""


class MissingDelivery(FileNotFoundError):
    """A required file that has not landed."""


class Landed(NamedTuple):
    """The entries of one table's folder. `digests`: partition key -> 12 hex digits over the file's content, ending in WAIVED
    where its failed checks are waived, in the order of the names; NOTHING with that ending where a person has accepted that
    none comes. `faults`: name -> why an entry is not read although it looks like a delivery; it concerns no other entry.
    """

    digests: dict[str, str]
    faults: dict[str, str]


@dataclass(frozen=True)
class Landing:
    """Files at `root`/<use_case>/<table>/<partition key>.csv, by the calendar of the table. `clock`: seconds since the epoch."""

    root: Path
    clock: Callable[[], float] = time.time
    form: Form = CSV

    def of(self, form: Form) -> "Landing":
        """The same folder, with files of another form."""
        return replace(self, form=form)

    def path(self, use_case: str, table: str, partition: Partition, calendar: Calendar = UTC_DAYS) -> Path:
        """The file that has landed, or else the usual name of it."""
        return self._file(use_case, table, calendar.key(partition))

    def _file(self, use_case: str, table: str, key: str) -> Path:
        paths = [self.root / use_case / table / f"{key}{suffix}" for suffix in self.form.suffixes]
        return next((path for path in paths if os.path.lexists(path)), paths[0])

    def put(self, use_case: str, table: str, *, day: Partition, rows: pl.DataFrame, calendar: Calendar = UTC_DAYS) -> bool:
        """Writes the file of one partition atomically, with datetimes as UTC (`2013-07-01T14:05:00Z`).

        Returns whether the content is new; an identical file is left untouched.
        """
        path = self.of(CSV).path(use_case, table, day, calendar)
        in_utc = rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))
        content = in_utc.write_csv(datetime_format=DATETIME_FORMAT).encode()
        with suppress(OSError):  # what cannot be read is replaced
            if read_bytes(path, len(content)) == content:
                return False
        replace_file(path, content)
        return True

    def digests(self, use_case: str, table: str) -> dict[str, str]:
        return self.scan(use_case, table).digests

    def scan(self, use_case: str, table: str, *, calendar: Calendar = UTC_DAYS, max_bytes: int = MAX_BYTES) -> Landed:
        """Whatever one entry is, all others are scanned. A file is read again only after a change."""
        folder = self.root / use_case / table
        landed = Landed({}, _similar_folders(folder.parent, table, self.legal_name(calendar)))
        try:
            names = sorted(entry.name for entry in os.scandir(folder)) if os.path.lexists(folder) else []
        except OSError as error:
            return Landed({}, {table: f"the folder cannot be read: {error.strerror}"})
        for name in names:
            try:
                if (key := self.key_of(name, calendar)) in landed.digests:
                    other = self._file(use_case, table, key).name
                    landed.faults[escape(name)] = f"it is not read, as {other} is of the same {calendar.noun}. Remove one of them"
                elif key:
                    landed.digests[key] = self._digest(folder / name, max_bytes)
                elif self._is_nearly(name, calendar):
                    legal = f"the name is not that of one {calendar.noun}; legal: {self.legal_name(calendar)}"
                    landed.faults[escape(name)] = f"{legal}. Rename it"
            except OSError as error:
                if os.path.lexists(folder / name):  # it may have been removed meanwhile
                    landed.faults[escape(name)] = describe(error)
        try:
            for key, refusal in self.refusals(use_case, table).read().items():
                if refusal.is_gap:
                    landed.digests.setdefault(key, NOTHING)
                if refusal.waiver and landed.digests.get(key) == refusal.file:
                    landed.digests[key] += WAIVED
        except UnreadableRefusals as error:
            name, _, problem = str(error).removesuffix(".").partition(" · ")
            landed.faults[f"../{name}"] = problem
        return landed

    def refusals(self, use_case: str, table: str) -> Refusals:
        return Refusals.of(self.root, use_case, table)

    def digest(self, use_case: str, table: str, key: str, *, max_bytes: int = MAX_BYTES) -> str:
        """Of the landed file of one partition; empty without a readable file."""
        with suppress(OSError):
            return self._digest(self._file(use_case, table, key), max_bytes)
        return ""

    def digests_of(
        self,
        use_case: str,
        contract: Contract,
        raw: pl.DataFrame,
        partitions: Sequence[Partition],
        *,
        calendar: Calendar = UTC_DAYS,
        max_bytes: int = MAX_BYTES,
    ) -> dict[str, str]:
        """The digest of the bytes that the `raw` rows of each partition were read from, which may not be those of the file any
        more, by partition key. Empty where no file can be used, or the partition had no rows and its file has some now.
        """
        read = raw.group_by(calendar.column).agg(pl.col("source_digest").first()).iter_rows()
        digests: dict[str, str | None] = {calendar.key(partition): digest for partition, digest in read}
        for key, partition in ((calendar.key(one), one) for one in partitions):
            if key not in digests:
                with suppress(BrokenDelivery):
                    path = self._file(use_case, contract.table, key)
                    rows, digest = self._parse(path, contract, calendar.stored(partition), max_bytes)
                    digests[key] = "" if rows.height else digest
        # Rows of an earlier release have none.
        stored = {
            key: self.digest(use_case, contract.table, key, max_bytes=max_bytes) if digest is None else digest
            for key, digest in digests.items()
        }
        accepted = self.refusals(use_case, contract.table).gaps()
        gaps = {key: NOTHING for key in accepted if not os.path.lexists(self._file(use_case, contract.table, key))}
        return {key: stored.get(key) or gaps.get(key, "") for key in map(calendar.key, partitions)}

    def _digest(self, path: Path, max_bytes: int) -> str:
        stat = path.stat()
        version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        is_settled = self.clock() - stat.st_ctime > SETTLED_S
        return (content_digest if is_settled else content_digest.__wrapped__)(path, max_bytes, version)

    def read(
        self,
        use_case: str,
        contract: Contract,
        partitions: Sequence[Partition],
        *,
        required: bool,
        known: Collection[Partition] = (),
        calendar: Calendar = UTC_DAYS,
        max_bytes: int = MAX_BYTES,
    ) -> pl.DataFrame:
        """The rows of these partitions: the contract's columns as String, exactly as landed, those of the partition,
        `source_file` (String, relative to `root`), `source_line` (Int64, the header is line 1), `source_digest` (String, of the
        bytes that were read) and `problem` (String, null if the row was parsed).

        An empty value is "", a missing one null; blank lines are skipped. A line without a line end has a problem: its
        last value may be incomplete. Of a broken file, and of an absent one of a `known` partition, there is one row, with the
        problem of the whole file. Another absent file has no rows, or raises MissingDelivery if `required` and no person has
        accepted the gap.
        """
        paths = {partition: self.path(use_case, contract.table, partition, calendar) for partition in partitions}
        gaps = self.refusals(use_case, contract.table).gaps()
        for partition, path in paths.items():
            if required and partition not in known and calendar.key(partition) not in gaps and not os.path.lexists(path):
                raise MissingDelivery(
                    f"{use_case} · {contract.table} · {calendar.key(partition)}: no file has landed; "
                    f"expected {self._relative(path)}. "
                    "Ask its owner to deliver it: its runs follow by themselves. Or, where nothing is to come, "
                    f"`mlops waive {use_case} {contract.table} {calendar.key(partition)} --why …`."
                )
        schema = dict.fromkeys((*contract.names, *LANDED), pl.String()) | calendar.types() | {"source_line": pl.Int64()}
        frames = [pl.DataFrame(schema=schema)]
        for partition, path in paths.items():
            if partition in known or os.path.lexists(path):
                try:
                    frames.append(self.read_file(path, contract, partition, calendar=calendar, max_bytes=max_bytes))
                except BrokenDelivery as error:
                    row = {"source_file": self._relative(path), "source_digest": "", "problem": str(error)}
                    row |= calendar.stored(partition) | {"source_line": WHOLE_FILE}
                    frames.append(pl.DataFrame([row], schema=schema))
        return pl.concat(frames)

    def files(self, use_case: str, table: str, *, calendar: Calendar = UTC_DAYS, leftovers: bool = False) -> list[Path]:
        """The landed files in the order of their names, with `leftovers` also those of killed processes."""
        folder = self.root / use_case / table
        names = sorted(entry.name for entry in os.scandir(folder) if os.path.isfile(entry)) if folder.is_dir() else []
        return [folder / name for name in names if self.key_of(name, calendar) or (leftovers and LEFTOVER.fullmatch(name))]

    def read_file(
        self, path: Path, contract: Contract, partition: Partition, *, calendar: Calendar = UTC_DAYS, max_bytes: int = MAX_BYTES
    ) -> pl.DataFrame:
        """One file under `root`, as `read`. Raises BrokenDelivery for a file that cannot be read, is empty or whose columns are
        not the contract's of its day.
        """
        return self._parse(path, contract, calendar.stored(partition), max_bytes)[0]

    def _parse(self, path: Path, contract: Contract, partition: Mapping[str, Any], max_bytes: int) -> tuple[pl.DataFrame, str]:
        """The rows of a file, with the columns of its partition, and the digest of the bytes that they were read from."""
        where = self._relative(path)
        try:
            with opened(path, max_bytes) as content:
                file = Hashed(content)
                table = read_table(cast(BinaryIO, file), path.name, self.form, contract=contract, max_bytes=max_bytes)
                header_problem = find_header_problem(table.header, contract, partition[DAY], delimiter=table.delimiter)
                if problem := header_problem or table.cut:
                    raise BrokenDelivery(f"{where} · {problem}. Correct the file and land it again, or change the contract.")
                declared = {*contract.names}
                needed = [name if name in declared else None for name in columns_in(table.header, contract)]
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
            **{name: pl.lit(value) for name, value in partition.items()},
        )
        return rows.select(*contract.names, *LANDED, *partition, "source_line"), digest

    def key_of(self, name: str, calendar: Calendar) -> str:
        """The key of the partition that the name of a file of this form means; empty for another name."""
        for suffix in self.form.suffixes:
            key = name.removesuffix(suffix)
            with suppress(IllegalKey):
                if name != key and calendar.parse(key) is not None:
                    return key
        return ""

    def _is_nearly(self, name: str, calendar: Calendar) -> bool:
        """Whether a name looks like that of a landed file."""
        looks_alike = re.match(rf"(.*\.csv|.*({calendar.nearly}))", name, re.IGNORECASE | re.DOTALL)
        return name[0] != "." and (bool(looks_alike) or name.lower().endswith(self.form.suffixes))

    def legal_name(self, calendar: Calendar) -> str:
        form, *explanation = calendar.form.split(", ", 1)
        return ", ".join([form + self.form.SUFFIX, *explanation])

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def describe_broken(rows: pl.DataFrame) -> str:
    """The problem of each broken file; empty without any."""
    return " ".join(rows.filter(pl.col("source_line") == WHOLE_FILE)["problem"])


def _similar_folders(folder: Path, table: str, legal_name: str) -> dict[str, str]:
    """Entries next to a table's folder that differ from it in case and punctuation only."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name.removesuffix(".csv")).casefold()

    with suppress(OSError):
        similar = [name for name in os.listdir(folder) if name != table and plain(name) == plain(table)]
        legal = f"it is not read; legal: {table}/{legal_name}. Move its files there"
        return {f"../{escape(name)}": legal for name in similar}
    return {}
