"""The parts of a proposed use case: contract, source, features, split, gates, triggers."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from mlops_assets.inspection.columns import InspectedColumn
from mlops_assets.inspection.contracts import declare_column
from mlops_assets.inspection.labels import ProposedTask
from mlops_assets.inspection.roles import Key, Period
from mlops_assets.inspection.splits import propose_split, smallest_share
from mlops_assets.inspection.table_file import USUAL_MAX_BYTES, NoTable, TableFile
from mlops_assets.inspection.windows import propose_monitors
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.feature import Features
from mlops_assets.spec.form import Csv, Form
from mlops_assets.spec.gate import BeatsChampion, Gate, NoPii
from mlops_assets.spec.grain import Daily, Grain, Monthly, Snapshot
from mlops_assets.spec.request_feature import Hour, Month, PredictionMoment, RequestFeature, Weekday
from mlops_assets.spec.source import Files
from mlops_assets.spec.trigger import OnDrift, OnSchedule, Trigger

MAX_DAILY, FEW_A_DAY = 1500, 10  # a file for each of more days than this is slow where it has few rows
A_YEAR = timedelta(days=400)  # by which every month was there
OLD = timedelta(days=30)
MONDAY_MORNING = "0 6 * * 1"
NO_LEAK = "the file has too few rows to measure leaks, so that the gate NoLeak is left out: declare it once there are more"


@dataclass
class Draft:
    """Collects what is assumed while the parts are chosen."""

    label: InspectedColumn
    time: InspectedColumn | None
    key: Key
    task: ProposedTask
    columns: tuple[InspectedColumn, ...]
    period: Period | None  # of a table with a time
    notes: dict[str, str] = field(default_factory=dict[str, str])
    assumptions: list[str] = field(default_factory=list[str])

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.key.columns)

    @property
    def inputs(self) -> tuple[InspectedColumn, ...]:
        """The columns that a model can learn from."""
        return tuple(column for column in self._readable if column.kind == "value")

    @property
    def is_narrowed(self) -> bool:
        """Whether a model would by default read a column of which it learns nothing."""
        return len(self.inputs) < len([column for column in self._readable if column.kind != "empty"])

    @property
    def _readable(self) -> list[InspectedColumn]:
        """What a model reads by default, and the values that are part of a key, such as the shop of a day in this shop."""
        taken = (self.label, *(one for one in self.key.columns if one.kind != "value" or len(self.key.columns) == 1))
        return [one for one in self.columns if one not in taken and one.dtype not in ("date", "datetime") and not one.personal]


def declare_contract(table: TableFile, table_name: str, draft: Draft) -> Contract:
    required = (*draft.key.columns, draft.time)
    declared = tuple(
        declare_column(
            column, is_label=column is draft.label, is_required=column in required, is_whole=table.is_whole,
            levels=draft.task.levels if column is draft.label else (),
        )
        for column in draft.columns
        if column.kind != "empty"
    )  # fmt: skip
    empty = tuple(column.header for column in draft.columns if column.kind == "empty")
    optional: dict[str, Any] = {"day": draft.time.name} if draft.time else {}
    optional |= {"dropped": empty} if empty else {}
    description = f"One row for each {' and '.join(draft.key_names)}, first from {table.name}."
    return Contract(table=table_name, description=description, columns=declared, unique=draft.key_names, **optional)


def declare_source(table: TableFile, table_name: str, form: Form, draft: Draft) -> Files:
    optional: dict[str, Any] = {} if form == Csv() else {"form": form}
    if table.size * 2 > USUAL_MAX_BYTES:
        optional["max_bytes"] = 10 * USUAL_MAX_BYTES * -(-table.size // (5 * USUAL_MAX_BYTES))
    grain = _grain(draft.period)
    if draft.period and draft.period.days < draft.period.span.days:
        optional["only_when_changed"] = True
        draft.notes["sources"] = "Some days of the file have no rows."
    return Files(table=table_name, grain=grain, **optional)


def _grain(period: Period | None) -> Grain:
    if period is None:
        return Snapshot()
    return Monthly() if period.days > MAX_DAILY and period.rows / period.days < FEW_A_DAY else Daily()


def declare_rest(draft: Draft, *, today: date) -> dict[str, Any]:
    """What is not the same for every proposal."""
    fields: dict[str, Any] = {"features": features} if (features := _features(draft)) else {}
    personal = [NoPii()] if any(column.personal for column in draft.columns) else []
    period, rows = draft.period, draft.period.rows if draft.period else len(draft.label.values)
    known = rows - rows * draft.label.missing // len(draft.label.values)
    split, is_enough = propose_split(known, smallest_share(draft.label), period.span if period else None)
    if not is_enough:
        draft.assumptions.append(NO_LEAK)
    gates: tuple[Gate, ...] = (draft.task.floor, BeatsChampion(), *([draft.task.no_leak] if is_enough else []), *personal)
    triggers: tuple[Trigger, ...] = (OnDrift(),)
    if period:
        fields |= {"first_day": period.first}
        if today - period.last > OLD:
            fields |= {"last_day": period.last}
            draft.notes["last_day"] = (
                "The last day of the file. Remove it once every day up to now is delivered: each of them is due then."
            )
        triggers = (OnSchedule(cron=MONDAY_MORNING), OnDrift())
    fields |= {"split": split} if split else {}
    monitors, note = propose_monitors(period)
    draft.notes |= {"monitors": note} if note else {}
    return fields | {"gates": gates, "monitors": monitors, "triggers": triggers}


def _features(draft: Draft) -> Features | None:
    """None where the defaults are the inputs."""
    words = _request_features(draft)
    if not draft.inputs and not any(feature.RETURNS != "datetime" for feature in words):
        raise NoTable("the file has no column to learn from besides label, key and time. Add columns, or name another --label.")
    fields: dict[str, Any] = {"request_features": words} if words else {}
    if any(column in draft.key.columns for column in draft.inputs):
        numeric = [column.name for column in draft.inputs if column.dtype != "string"]
        numeric += [feature.name for feature in words if feature.RETURNS == "float"]
        categorical = [column.name for column in draft.inputs if column.dtype == "string"]
        categorical += [feature.name for feature in words if feature.RETURNS == "string"]
        fields |= {"numeric": tuple(numeric), "categorical": tuple(categorical)}
    elif draft.is_narrowed:
        named = (*draft.key_names, *([draft.time.name] if draft.time else []), *(column.name for column in draft.inputs))
        fields |= {"request": tuple(dict.fromkeys(named))}
    return Features(**fields) if fields else None


def _request_features(draft: Draft) -> tuple[RequestFeature, ...]:
    if not (time := draft.time) or not draft.period:
        return ()
    words: list[RequestFeature] = []
    if time.dtype == "datetime":
        words.append(PredictionMoment(column=time.name))
        if time.values.dt.hour().n_unique() > 2:
            words.append(Hour(name=f"{time.name}_hour", column=time.name))
    words.append(Weekday(name=f"{time.name}_weekday", column=time.name))
    return (*words, Month(name=f"{time.name}_month", column=time.name)) if draft.period.span > A_YEAR else tuple(words)
