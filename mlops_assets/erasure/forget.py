"""Forgets one subject: counts its rows in every store, records that in the ledger, erases them, and counts again."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from math import inf
from typing import NamedTuple

from deltalake import DeltaTable

from mlops_assets.erasure.stores import Stores, erase_everywhere, erase_kept_answers, find_strays
from mlops_assets.erasure.subject import Subject
from mlops_assets.erasure.texts import find_others, is_searched
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import NO_STATISTICS, DeltaTables, VersionGone
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.home_lock import await_readers
from mlops_assets.foundation.wording import some
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.spec.use_case import UseCase

LATELY_S = 300  # since the newest logged answer, within which a server is taken to be running
MAX_ROUNDS = 3  # of erasing again what was written meanwhile


class Found(NamedTuple):
    """`rows` above 0 by store; model versions that were trained on them, and those whose training table is gone, so that
    they may have been; what cannot be erased. The field names are keys in the ledger.
    """

    rows: dict[str, int]
    trained_on: list[int]
    possibly_trained_on: list[int]
    left: list[str]


class Forgotten(NamedTuple):
    """`record` is None where no row was found. `still` are rows by store that were written meanwhile, and `is_final` is False
    where a run or an answer that may have read rows before has not ended: forget again.
    """

    found: Found
    record: Record | None
    still: dict[str, int]
    is_final: bool


def look_for(use_case: UseCase, subject: Subject, stores: Stores) -> Found:
    """Counts only."""
    rows, tables = erase_everywhere(use_case, subject, stores, dry_run=True), DeltaTables(stores.home.tables)
    models = stores.registry.versions(names.registered_model(use_case.name))
    versions = {model.version: model.tags.get("table.training_set") for model in models}
    holds = {version: _holds_subject(use_case, subject, tables, version) for version in {*versions.values()}}
    trained, possibly = ([model for model, version in versions.items() if holds[version] is answer] for answer in (True, None))
    remains = _list_remains(use_case, subject, tables, rows) if rows else ()
    left = [*remains, *_list_strays(use_case, subject, stores), *_list_other_files(subject, stores.home)]
    return Found(rows, trained, possibly, left)


def forget_subject(
    use_case: UseCase, subject: Subject, stores: Stores, *, why: str, by: str, at: datetime,
    patience_s: float = 0, on_wait: Callable[[], None] = lambda: None,
) -> Forgotten:  # fmt: skip
    """Erases every row of the subject; versions of a table that contained one can no longer be read.

    Runs, and pushes, that began before may write rows that they read before, and a server logs answers that it has begun: it
    waits `patience_s` at most for their end, and erases again. After a kill the next call completes it, and records what it
    still finds. Raises LedgerDown, and as erase_everywhere.
    """
    answers_s = _longest_answer_s(use_case, stores)
    found, record = look_for(use_case, subject, stores), None
    if found.rows:  # the record comes first, so that nothing is erased without one
        body = {"tag": subject.tag, "entity": subject.entity, "subject": subject.digest, **found._asdict()}
        # A reason, or the name of a file, may contain the value, and the ledger never loses a word.
        body |= {"why": subject.mask(why), "left": [subject.mask(text) for text in found.left]}
        record = stores.ledger.append(use_case.name, "erasure", body, by=by, at=at)
    _erase(use_case, subject, stores)
    have_ended = await_readers(stores.home.root, seconds=patience_s, on_wait=on_wait)
    if answers_s and found.rows:
        on_wait()
        time.sleep(min(answers_s, patience_s))
        have_ended = have_ended and patience_s >= answers_s
    erase_kept_answers(use_case.name, stores)
    still: dict[str, int] | None = None
    for _ in range(MAX_ROUNDS):  # a client that goes on sending the subject is logged anew each time
        before, still = still, erase_everywhere(use_case, subject, stores, dry_run=True)
        if not (still and have_ended) or still == before:
            break
        _erase(use_case, subject, stores)
    return Forgotten(found, record, still or {}, have_ended)


def _longest_answer_s(use_case: UseCase, stores: Stores) -> float:
    """After so many seconds a server has logged, or given up, what it answers now from features that it has read; 0 where no
    server has logged anything lately.
    """
    serving, log = use_case.serving, stores.home.prediction_log / use_case.name
    waiting_s = serving.log.flush_every.total_seconds() if serving.log.max_lost_rows else 0
    newest = max((segment.stat().st_mtime for segment in log.glob("*.jsonl")), default=-inf)
    is_served = waiting_s or time.time() - newest < LATELY_S
    return serving.limits.timeout.total_seconds() + waiting_s if is_served else 0


def _erase(use_case: UseCase, subject: Subject, stores: Stores) -> None:
    with ExitStack() as locks:  # rows that a materialization read before the erasure must not be written online after it
        for view in sorted(view.name for view in use_case.features.views):
            locks.enter_context(stores.features.registry.alone(view))
        erase_everywhere(use_case, subject, stores, dry_run=False)


def _holds_subject(use_case: UseCase, subject: Subject, tables: DeltaTables, version: str | None) -> bool | None:
    """Whether a version of the training table does; None where that cannot be read any more."""
    try:
        rows = tables.read_version(names.stage(use_case.name, "training_set"), int(version or -1))
    except VersionGone:
        return None
    return not rows.filter(subject.is_in_rows(rows.schema)).is_empty() if subject.columns & {*rows.columns} else None


def _list_remains(use_case: UseCase, subject: Subject, tables: DeltaTables, rows: dict[str, int]) -> Iterator[str]:
    """What names or counts the subject and cannot be erased row by row."""
    tagged = {contract.table for contract in use_case.contracts if subject.columns & set(contract.names)}
    views = [view for view in use_case.features.views if tagged & {*view.tables} and not subject.columns & {*view.entity}]
    if sums := ", ".join(f"feature/{view.name}" for view in views):
        yield f"{sums}: aggregates that include these rows until their days are materialized again."
    if inputs := ", ".join(sorted(subject.columns & set(use_case.features.inputs))):
        yield f"models, their profiles and reports: {inputs} is an input, and a model stores values of its inputs."
    if any(name.startswith("quarantine/") for name in rows):
        yield "Dagster's event log: the metadata of a run shows up to five quarantined rows. Wipe those runs."
    for asset in tables.assets(use_case.name):
        is_found = "/".join(asset[1:]) in {store.removesuffix(" (older versions)") for store in rows}
        if is_found and not NO_STATISTICS.items() <= DeltaTable(str(tables.path(asset))).metadata().configuration.items():
            yield f"{'/'.join(asset[1:])}: its log, which an earlier release began, may hold the value in statistics."


def _list_strays(use_case: UseCase, subject: Subject, stores: Stores) -> Iterator[str]:
    landing = Landing(stores.home.landing)
    if strays := [file.relative_to(landing.root).as_posix() for file in find_strays(landing, use_case, subject)]:
        problem = "no delivery by name or folder, or of a form that cannot be edited, and contains the value or is no text"
        yield f"landing/{some(strays)}: {problem}. Remove it by hand."


def _list_other_files(subject: Subject, home: Home) -> Iterator[str]:
    if not is_searched(subject):
        yield "pages, logs, models, records of MLflow and Dagster: not searched, as so short a value is in them by chance."
    if files := find_others(home, subject):
        remedy = "Wipe its runs in Dagster, delete its model versions, remove other files by hand"
        yield f"{some(files)}: contains the value as text, and cannot be edited. {remedy}."
