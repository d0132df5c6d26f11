"""A use case for a table that nobody has declared yet: the likeliest declaration, and what was assumed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from mlops_assets.foundation.wording import counted
from mlops_assets.inspection.columns import InspectedColumn, inspect_columns
from mlops_assets.inspection.contracts import NO_INPUT
from mlops_assets.inspection.formats import find_formats
from mlops_assets.inspection.labels import propose_task
from mlops_assets.inspection.parts import Draft, declare_contract, declare_rest, declare_source
from mlops_assets.inspection.roles import Key, count_repeated, find_column, find_key, find_period, label_choice, time_choice
from mlops_assets.inspection.sentinels import declare_sentinels
from mlops_assets.inspection.table_file import NoTable, TableFile
from mlops_assets.spec.form import Csv, Excel, Form
from mlops_assets.spec.use_case import UseCase


class Question(NamedTuple):
    """`option` answers it in the command."""

    text: str
    option: str


Ask = Callable[[Question, Sequence[str]], str]
NO_TIME = "none"  # answers --time for a table whose rows are as of its delivery


@dataclass(frozen=True)
class Wishes:
    """What a person declares: headers or names of columns, and the name of a task. Empty: not declared."""

    label: str = ""
    time: str = ""
    keys: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class Proposal:
    """`comments`: why, by the name of a column. `notes`: by the field of the use case. `assumptions`, a sentence each: what was
    chosen where the data leave it open, and what a person should look at.
    """

    use_case: UseCase
    comments: Mapping[str, str]
    notes: Mapping[str, str]
    assumptions: tuple[str, ...]


class NoKey(NoTable):
    """A table without a column that identifies its rows."""


def propose(
    table: TableFile, *, name: str, table_name: str, owner: str, wishes: Wishes, today: date, ask: Ask | None = None
) -> Proposal:
    """`ask(question, answers)` returns one of the answers; None: the likeliest is taken. Raises NoTable."""
    names = [f"c{place}" for place in range(len(table.headers))]
    form, alternatives = find_formats(table.rows, names, table.form)
    form, sentinels = declare_sentinels(table.rows, dict(zip(names, table.distinct_headers, strict=True)), form)
    columns = inspect_columns(table, form)
    draft = _choose(table, columns, form, wishes=wishes, ask=ask)
    draft.assumptions += (*alternatives, *sentinels)
    source, contract = declare_source(table, table_name, form, draft), declare_contract(table, table_name, draft)
    use_case = UseCase(
        name=name, owner=owner, question=draft.task.question, sources=(source,), contracts=(contract,), task=draft.task.task,
        **declare_rest(draft, today=today),
    )  # fmt: skip
    closed = [one.name for one in contract.columns if one.allowed and one.name != draft.label.name]
    comments = {one.name: text for one in columns if (text := _comment(one, draft, is_closed=one.name in closed))}
    shown = (*_describe_file(table, form), *_describe_columns(columns, draft), *_describe_closed(closed))
    return Proposal(use_case, comments, draft.notes, (*draft.assumptions, *shown))


def _choose(table: TableFile, columns: tuple[InspectedColumn, ...], form: Form, *, wishes: Wishes, ask: Ask | None) -> Draft:
    time = _chosen_time(columns, wishes, ask)
    others = [column for column in columns if column is not time]
    label, is_assumed = _chosen_label(columns, others, wishes, ask)
    task = propose_task(label, wishes.task)
    key = _chosen_key([column for column in columns if column is not label], time, wishes, can_number=table.is_whole)
    draft = Draft(label, time, key, task, columns, find_period(table, time, form) if time else None)
    if is_assumed:
        draft.assumptions.append(f"the label is {label.shown}: name another one with --label")
    draft.assumptions += task.assumptions
    if time and not wishes.time:
        draft.assumptions.append(f"a row happens at {time.shown}: name another column with --time, or {NO_TIME}")
    if time and time.dtype == "datetime":
        draft.assumptions.append("a time without an offset is in UTC: declare time_zone of the form, and tz of the grain, if not")
    if not wishes.keys:
        draft.assumptions.append(_describe_key(key))
    return draft


def _chosen_label(
    columns: Sequence[InspectedColumn], others: Sequence[InspectedColumn], wishes: Wishes, ask: Ask | None
) -> tuple[InspectedColumn, bool]:
    if wishes.label:
        return find_column(columns, wishes.label, "--label"), False
    choice = label_choice(others)
    if not choice.candidates:
        raise NoTable("--label · no column can be a label: all are constant, empty, identifiers or days. Name one with --label.")
    if ask and not choice.is_sure:
        wish = ask(Question("Which column is to be predicted", "--label"), [column.header for column in choice.candidates])
        return find_column(columns, wish, "--label"), False
    return choice.candidates[0], True


def _chosen_time(columns: Sequence[InspectedColumn], wishes: Wishes, ask: Ask | None) -> InspectedColumn | None:
    choice = time_choice([column for column in columns if wishes.label not in (column.header, column.name)])
    headers = [column.header for column in choice.candidates]
    wish = wishes.time
    if not wish and ask and not choice.is_sure:
        wish = ask(Question("When does a row happen", "--time"), [*headers, NO_TIME])
    if not wish:
        return choice.candidates[0] if headers else None
    if wish == NO_TIME and not any(NO_TIME in (column.header, column.name) for column in columns):
        return None
    column = find_column(columns, wish, "--time")
    if column.dtype not in ("date", "datetime"):
        found = f"{column.header!r} is of type {column.dtype}"
        legal = f"days or moments, all written in one form, or {NO_TIME}"
        raise NoTable(f"--time · {found}; legal: {legal}. Name another column, or correct it.")
    return column


def _chosen_key(columns: Sequence[InspectedColumn], time: InspectedColumn | None, wishes: Wishes, *, can_number: bool) -> Key:
    """`can_number`: a copy of the file with a number for each row can be made."""
    if not wishes.keys:
        if key := find_key(columns, time, with_measured=not can_number):
            return key
        raise NoKey("--key · no column identifies a row. Name the columns that do, or add one with a number for each row.")
    key = tuple(find_column(columns, wish, "--key") for wish in wishes.keys)
    return Key(key, count_repeated(key))


def _describe_key(key: Key) -> str:
    text = f"a row is identified by {' and '.join(column.shown for column in key.columns)}"
    return f"{text}, as no column is an identifier: a number for each row is better" if key.is_made else text


def _comment(column: InspectedColumn, draft: Draft, *, is_closed: bool) -> str:
    """Above the column in the contract."""
    lines = [f"Perhaps personal data, as {column.personal}: no input."] if column.personal and column is not draft.label else []
    is_free = column.kind in NO_INPUT and not column.personal and column not in (draft.label, *draft.key.columns)
    lines += [f"{NO_INPUT[column.kind].capitalize()}."] if is_free else []
    lines += ["A row with another value is refused: remove `allowed` where new values may come."] * is_closed
    return " ".join([*lines, *(f"{remark[0].upper()}{remark[1:]}." for remark in column.remarks)])


def _describe_columns(columns: Sequence[InspectedColumn], draft: Draft) -> Iterator[str]:
    for column in columns:
        if column.personal and column is not draft.label:
            kept = "as it is in the log, which has the key" if column in draft.key.columns else "hashed in the log"
            yield f"{column.shown} is perhaps personal data, as {column.personal}: it is no input, and {kept}"
        elif column.kind in NO_INPUT and column not in (draft.label, *draft.key.columns):
            yield f"{column.shown} has {NO_INPUT[column.kind]}".replace(" has an ", " is an ").replace(" has free", " is free")
        yield from (f"{column.shown}: {remark}" for remark in column.remarks)


def _describe_closed(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"a later row with a new value of {', '.join(names)} goes to quarantine: remove `allowed` where new ones may come"


def _describe_file(table: TableFile, form: Form) -> Iterator[str]:
    if isinstance(form, Csv | Excel) and form.skip_lines and not getattr(form, "names", ()):
        lines = "line of the file is a title" if form.skip_lines == 1 else f"{form.skip_lines} lines of the file are titles"
        yield f"the first {lines}"
    if isinstance(form, Csv) and form.names:
        why = "has no header, or not a name of its own for each column"
        yield f"the file {why}: columns have the names and the order in form.names, in later files, too"
    if form.missing:
        yield f"{', '.join(map(repr, form.missing))} mean{'s' * (len(form.missing) == 1)} that a value is missing"
    if not table.is_whole:
        yield f"the first {table.rows.height:,} rows of the file were read: later ones may have other values"
    if table.problems:
        count = counted(len(table.problems), "line")
        yield f"{count} of the file cannot be read as rows and go to quarantine, such as {table.problems[0]}"
