"""Sources that the platform reads by itself: a database, an HTTP API, a stream. Their rows land as files, as of any source."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv
from mlops_assets.spec.grain import Snapshot
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import Spec, Text

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
NAMES = re.compile(r"\$|(\$\.)?[^$.\[\]]+(\.[^$.\[\]]+)*")
SECRET = re.compile(r"(api|access|auth)?[_-]?(key|token|secret|password|passwd|pwd|signature)", re.IGNORECASE)


def _require_names(path: str) -> str:
    if not NAMES.fullmatch(path):
        raise PydanticCustomError("json_path", "Input should be names with dots between, such as $.data.items")
    return path


JsonPath = Annotated[str, AfterValidator(_require_names)]


class PulledSource(Files):
    """Rows that are read every `every` and land in the partition of their `time`, a column of the contract. Of rows with one key,
    that with the highest `version` stays, a number or a datetime; without a version the row that was read last.
    Credentials are never declared: `variables` names the environment variables that have them.
    """

    only_when_changed: bool = True
    time: Text
    every: timedelta = Field(default=timedelta(hours=1), ge=timedelta(seconds=10))
    version: Text | None = None

    LOGO: ClassVar[str] = ""

    @property
    def logos(self) -> tuple[str, ...]:
        return (self.LOGO, *super().logos)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that it reads."""
        names = (getattr(self, field) for field in type(self).model_fields if field.endswith("_variable"))
        return tuple(name for name in names if name is not None)

    def contradictions(self) -> Iterator[str]:
        if isinstance(self.grain, Snapshot):
            yield "grain · a Snapshot has no time, by which rows that are read land; legal: the others. Use one of these."
        if self.path is not None:
            yield f"path · {type(self).__name__} is read by itself. Leave it out."
        form = self.form
        if form != Csv(time_zone=form.time_zone, doubled=form.doubled, missing=form.missing):
            legal = "a Csv with time_zone, doubled and missing, as rows land in one form"
            yield f"form · it declares more than a source that is read has; legal: {legal}. Leave the others out."
        for field in type(self).model_fields:
            name = getattr(self, field)
            if field.endswith("_variable") and name is not None and not VARIABLE.fullmatch(name):
                found = "found another text, not shown as it may contain a password"
                legal = "the name of an environment variable, such as ORDERS_URL"
                yield f"{field} · {found}; legal: {legal}. Set the value in a variable, and declare its name."

    def contract_problems(self, contract: Contract) -> Iterator[str]:
        field = f"sources[{self.table}].time"
        times = [column.name for column in contract.columns if column.dtype in ("datetime", "date")]
        if self.time not in times:
            legal = ", ".join(times) or "none"
            yield f"{field} · {self.time!r} is no datetime or date column of the contract; legal: {legal}. Use one."
        elif contract.day not in (None, self.time):
            found = f"it is {self.time!r}, and the contract's day is {contract.day!r}, by which rows would be on the wrong day"
            yield f"{field} · {found}. Use one column for both."
        versions = [column.name for column in contract.columns if column.dtype in ("int", "float", "decimal", "date", "datetime")]
        if self.version is not None and self.version not in versions:
            found = f"{self.version!r} is no number or datetime column of the contract; legal: {', '.join(versions)}"
            yield f"sources[{self.table}].version · {found}. Use one, or leave it out."


class Sql(PulledSource):
    """A table or a query of any database that SQLAlchemy knows; `url_variable` names the variable with its URL.

    With a `cursor`, a column that grows with every new or changed row, only rows from the highest value of the last run on are
    read; without one, every run reads all rows and replaces the files. `lag` is how far behind the highest value a transaction
    may still commit, in units of the cursor; that much is read again.
    """

    LOGO = "sql"

    url_variable: str
    from_table: Text | None = None  # with its schema, where it has one: sales.orders
    query: Text | None = None
    cursor: Text | None = None
    lag: timedelta | int | None = None

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if (self.from_table is None) == (self.query is None):
            found = "neither is declared" if self.query is None else "both are declared"
            yield f"from_table, query · {found}; legal: one of them. Declare where the rows are."
        yield from _lag_problems(self.cursor, self.lag)

    def contract_problems(self, contract: Contract) -> Iterator[str]:
        yield from super().contract_problems(contract)
        yield from _cursor_problems(self, contract)


def _lag_problems(cursor: str | None, lag: timedelta | int | None) -> Iterator[str]:
    if cursor is None and lag is not None:
        yield "lag · it is declared without a cursor, which it refers to. Declare the cursor, or leave it out."
    if cursor is not None and lag is None:
        legal = "timedelta(minutes=10), or 0 where rows appear in the order of the cursor"
        yield f"lag · it is missing: how far behind the highest {cursor!r} may a row still appear? Declare it: {legal}."
    if (lag.total_seconds() if isinstance(lag, timedelta) else lag or 0) < 0:
        yield f"lag · found {lag}; legal: 0 or more. Correct it."


def _cursor_problems(source: "Sql | Http", contract: Contract) -> Iterator[str]:
    """The cursor may be a column that the contract lacks."""
    for column in (column for column in contract.columns if column.name == source.cursor and source.lag):
        if isinstance(source.lag, timedelta) != (column.dtype == "datetime"):
            found = f"the cursor {column.name!r} is of type {column.dtype}, and the lag is {source.lag!r}"
            yield f"sources[{source.table}].lag · {found}; legal: a timedelta of datetimes, a number of numbers. Correct it."


class PageNumber(Spec):
    """Pages by number, until one has no records."""

    param: Text = "page"
    first: int = 1


class NextCursor(Spec):
    """The answer has the next page's cursor at this JSON path, and none at the end."""

    path: JsonPath
    param: Text = "cursor"


class NextLink(Spec):
    """The answer has the next page's address at this JSON path; without a path, in its Link header."""

    path: JsonPath | None = None


class Http(PulledSource):
    """A JSON API whose answers have records at the JSON path `records`, in pages.

    With `since_param`, requests ask from the highest value of `cursor` of the last run on, minus `lag`; without it every run
    reads all records. Records that a run lacks are never removed. `token_variable` names the variable with the token that is
    sent in `token_header`.
    """

    LOGO = "http"

    url: str
    records: JsonPath = "$"
    pages: PageNumber | NextCursor | NextLink | None = None
    params: Mapping[str, str | int] = Field(default_factory=dict[str, str | int])
    token_variable: str | None = None
    token_header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9_-]+$")
    token_prefix: str = "Bearer "
    cursor: Text | None = None
    since_param: Text | None = None
    lag: timedelta | int | None = None

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        try:
            parts = urlsplit(self.url)
            has_host = bool(parts.netloc) and parts.port != 0  # an illegal port raises
        except ValueError:  # its text may have a part of a password
            yield "url · its host or port cannot be read; legal: https://host/path or http://host/path. Correct it."
            return
        if parts.username is not None or parts.password is not None:
            yield "url · it has a user or a password, and is not shown. Set a token in a variable, and declare token_variable."
        elif parts.scheme not in ("http", "https") or not has_host:
            yield f"url · found {self.url!r}; legal: https://host/path or http://host/path. Correct it."
        secrets = [name for name in (*self.params, *re.findall(r"([^&=]+)=", parts.query)) if SECRET.fullmatch(name)]
        for name in secrets:
            yield f"params · {name!r} is the name of a credential. Set its value in a variable, and declare token_variable."
        if (self.cursor is None) != (self.since_param is None):
            yield "cursor, since_param · one is declared without the other. Declare both, or none to read all records each time."
        yield from _lag_problems(self.cursor, self.lag)

    def contract_problems(self, contract: Contract) -> Iterator[str]:
        yield from super().contract_problems(contract)
        yield from _cursor_problems(self, contract)


class Stream(PulledSource):
    """A Kafka topic with a JSON object per message. `brokers_variable` names the variable with its brokers (host:port,…);
    `login_variable`, where brokers need one, that with user:password. The time of a message without a `time` is the broker's.
    """

    LOGO = "kafka"

    brokers_variable: str
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    group: Text
    login_variable: str | None = None
    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    every: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(seconds=10))
    max_messages: int = Field(default=1_000_000, gt=0)  # of one run

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if self.protocol.startswith("sasl") != (self.login_variable is not None):
            found = f"protocol is {self.protocol}, and login_variable is {self.login_variable!r}"
            yield f"{found}; legal: a login with a sasl protocol, and with no other. Correct one."
