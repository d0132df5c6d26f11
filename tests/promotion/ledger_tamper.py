"""Changes of the ledger's table by an owner of the database: no triggers, no unique numbers, any row."""

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import psycopg

FIELDS = ("use_case", "number", "kind", "at", "by", "body", "previous", "digest")
NAMES = ", ".join(f'"{name}"' for name in FIELDS)
Stored = dict[str, Any]  # one stored row: `body` is text


def connected(url: str) -> sqlite3.Connection | psycopg.Connection:
    """Every statement counts at once, as with any other program on the same database."""
    if url.startswith("sqlite:///"):
        return sqlite3.connect(unquote(url.removeprefix("sqlite:///")), isolation_level=None)
    return psycopg.connect(url, autocommit=True)


def stored(url: str) -> list[Stored]:
    with closing(connected(url)) as connection:
        cursor = connection.execute(f"SELECT {NAMES} FROM mlops_ledger ORDER BY use_case, number")
        return [dict(zip(FIELDS, row, strict=True)) for row in cursor.fetchall()]


def unguard(url: str) -> None:
    """Takes triggers and unique numbers away."""
    with closing(connected(url)) as connection:
        connection.execute("CREATE TABLE taken AS SELECT * FROM mlops_ledger")
        connection.execute("DROP TABLE mlops_ledger")
        connection.execute("ALTER TABLE taken RENAME TO mlops_ledger")


def cut_off(url: str, *, after: int) -> None:
    """Removes the newest records, past the guards."""
    with closing(connected(url)) as connection:
        table = "mlops_ledger"
        guard, free = (
            ("DROP TRIGGER IF EXISTS mlops_ledger_no_delete", "")
            if isinstance(connection, sqlite3.Connection)
            else (f"ALTER TABLE {table} DISABLE TRIGGER ALL", f"ALTER TABLE {table} ENABLE TRIGGER ALL")
        )
        for statement in filter(None, (guard, f"DELETE FROM {table} WHERE number > {after}", free)):
            connection.execute(statement)


def overwrite(url: str, rows: list[Stored]) -> None:
    """Lets an unguarded table hold exactly these rows."""
    mark = "?" if url.startswith("sqlite") else "%s"
    with closing(connected(url)) as connection:
        connection.execute("DELETE FROM mlops_ledger")
        insert = f"INSERT INTO mlops_ledger ({NAMES}) VALUES ({', '.join(mark for _ in FIELDS)})"
        connection.cursor().executemany(insert, [tuple(row[name] for name in FIELDS) for row in rows])


def sealed(row: Stored) -> Stored:
    """The row with the digest that its content has, by the definition in `Record`, spelled out by hand."""
    texts = {name: json.dumps(row[name]) for name in FIELDS} | {"body": row["body"]}
    text = ",".join(f'"{name}":{texts[name]}' for name in ("at", "body", "by", "kind", "number", "previous", "use_case"))
    return row | {"digest": sha256(f"{{{text}}}".encode("ascii")).hexdigest()}
