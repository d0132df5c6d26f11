"""What makes legal fields of a use case illegal together, a sentence each."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mlops_assets.spec.column_type import COLUMN_TYPES, DType
from mlops_assets.spec.gate import FAIRNESS, EverySlice, Gate, NoSkew
from mlops_assets.spec.grain import Snapshot
from mlops_assets.spec.monitor import Drift, Estimation, Monitor, OwnMonitor, Performance, Skew, stage_names
from mlops_assets.spec.request_feature import RequestFeature
from mlops_assets.spec.rollout import Canary
from mlops_assets.spec.spec import Spec
from mlops_assets.spec.trigger import OnAlarm, OnCheck, OnDrift, OnLoss, OnPerformance, Trigger, trigger_names

if TYPE_CHECKING:
    from mlops_assets.spec.use_case import UseCase

READS_MONITOR: dict[type[Spec], tuple[type[Monitor], ...]] = {
    NoSkew: (Skew,), OnDrift: (Drift,), OnPerformance: (Performance,), OnLoss: (Performance,),
    OnAlarm: (OwnMonitor, Estimation),
}  # fmt: skip
# The types of request columns that a model cannot read: a day or a moment has no level that comes back.
NO_INPUT: dict[str, tuple[DType, ...]] = {"numeric": ("datetime", "date"), "categorical": ("datetime", "date", "decimal")}


def find_contradictions(use_case: "UseCase") -> Iterator[str]:
    checks = (
        _table_problems, _zone_problems, _snapshot_problems, _feature_problems, _label_problems, _day_problems, _split_problems,
        _rollout_problems, _monitor_problems,
    )  # fmt: skip
    for check in checks:
        yield from check(use_case)
    if use_case.search and not use_case.trainer.space():
        yield f"search · {type(use_case.trainer).__name__} declares nothing that a search varies. Declare ranges, or no search."
    yield from _unknown("slices", use_case.slices, use_case.features.inputs, "is not an input of the model; inputs")
    for index, gate in enumerate(use_case.gates):
        if isinstance(gate, EverySlice):
            yield from _unknown(f"gates[{index}].column", [gate.column], use_case.slices, "is not a declared slice; slices")


def _table_problems(use_case: "UseCase") -> Iterator[str]:
    tables, sources = [one.table for one in use_case.contracts], [one.table for one in use_case.sources]
    no_contract = "has no contract; contracts"
    yield from _unknown("sources", sources, tables, no_contract)
    yield from _unknown("contracts", tables, sources, "has no source; sources")
    for source in (source for source in use_case.sources if source.table in tables):
        yield from source.contract_problems(use_case.contract(source.table))
    if not use_case.features.request_table:
        legal = ", ".join(tables)
        yield f"features.request_table · there are several tables, and none is declared; legal: {legal}. Declare it."
        return
    yield from _unknown("label.table", [use_case.label.table], tables, no_contract)
    for view in use_case.features.views:
        yield from _unknown(f"features.views[{view.name}].tables", view.tables, tables, no_contract)
    yield from _unknown("features.request_table", [use_case.features.request_table], tables, no_contract)


def _zone_problems(use_case: "UseCase") -> Iterator[str]:
    zones = {source.table: source.grain.tz for source in use_case.sources if not isinstance(source.grain, Snapshot)}
    for view in use_case.features.views:
        own = {zones[table]: table for table in view.tables if table in zones}
        if len(own) > 1:
            found = ", ".join(f"{zone} ({table})" for zone, table in own.items())
            yield f"features.views[{view.name}].tables · of the time zones {found}; legal: of one. Declare one view for each."


def _snapshot_problems(use_case: "UseCase") -> Iterator[str]:
    """What needs a partition in time."""
    snapshots = {source.table for source in use_case.sources if isinstance(source.grain, Snapshot)}
    for contract in (contract for contract in use_case.contracts if contract.table in snapshots):
        declared = {
            "day": bool(contract.day) and "no day that a row could miss",
            "columns": any(column.since for column in contract.columns) and "no first day of a column",
            "expectations": any(hasattr(one, "partitions") for one in contract.expectations) and "nothing to compare with",
        }
        for field, found in declared.items():
            if found:
                place = f"contracts[{contract.table}].{field}"
                yield f"{place} · a Snapshot has {found}. Leave it out, or declare another grain."
    for view in use_case.features.views:
        if view.lookback and snapshots.issuperset(view.tables):
            found = "a lookback, and its tables are snapshots, which are always read whole"
            yield f"features.views[{view.name}].lookback · {found}. Leave it out, or declare another grain."


def _feature_problems(use_case: "UseCase") -> Iterator[str]:
    features, columns = use_case.features, [*use_case.columns(use_case.features.request_table)]
    # What was left out may be illegal as well, such as an input with a name of the platform.
    yield from (f"features.{problem}" for problem in features.contradictions() if columns)
    if columns and not features.inputs:
        yield f"features.numeric · {_describe_no_inputs(use_case)} Declare numeric or categorical."
    if columns and not features.request:
        yield "features.request · no request column is declared or follows from the inputs. Declare what clients send."
    if columns:
        yield from _unknown("features.request", features.request, columns, "is not a column of its table; columns")
        yield from _request_feature_problems(use_case)
        yield from _input_problems(use_case)
    yield from _unknown("serving.sticky_key", use_case.serving.sticky_key, features.request, "is not a request column; request")


def _describe_no_inputs(use_case: "UseCase") -> str:
    if use_case.features.views or use_case.features.entity_rows:
        return "no input is declared, and the columns of views and entity_rows are known only when they run."
    return f"no column of {use_case.features.request_table} can be one: all are key, label, moments or personal data."


def _input_problems(use_case: "UseCase") -> Iterator[str]:
    columns = use_case.columns(use_case.features.request_table)
    for field, dtypes in NO_INPUT.items():
        for name in (name for name in getattr(use_case.features, field) if name in use_case.features.request and name in columns):
            if (dtype := columns[name].dtype) in dtypes:
                legal = ", ".join(sorted(COLUMN_TYPES.keys() - {*dtypes}))
                yield f"features.{field} · {name!r} is of type {dtype}; legal: {legal}. Derive a feature from it."


def _request_feature_problems(use_case: "UseCase") -> Iterator[str]:
    columns = use_case.columns(use_case.features.request_table)
    types: dict[str, DType] = {name: columns[name].dtype for name in use_case.features.request if name in columns}
    for feature in use_case.features.request_features:
        field = f"features.request_features[{feature.name}]"
        unknown = "is neither a request column nor an earlier request feature; these are"
        yield from _unknown(field, feature.columns, [*types], unknown)
        for name in (name for name in feature.columns if types.get(name, feature.READS[0]) not in feature.READS):
            legal = f"{type(feature).__name__} reads: {', '.join(feature.READS)}"
            yield f"{field} · {name!r} is of type {types[name]}; {legal}. Use another column or word."
        yield from (f"{field} · {problem}" for problem in _date_problems(feature, types))
        if feature.name in use_case.features.request:
            yield f"{field} · a request column has this name, too. Rename the feature."
        if types.keys() >= {*feature.columns}:
            types[feature.name] = feature.dtype(types)


def _date_problems(feature: RequestFeature, types: Mapping[str, DType]) -> Iterator[str]:
    dates = [name for name in feature.columns if types.get(name) == "date"]
    if dates and (moments := [name for name in feature.columns if types.get(name) == "datetime"]):
        yield f"{dates[0]!r} is a date, and {moments[0]!r} a datetime; legal: two of one type. Use another column."
    if dates and getattr(feature, "zone", "UTC") != "UTC":
        yield f"zone · {dates[0]!r} is a date, which has no time zone. Leave it out."


def _label_problems(use_case: "UseCase") -> Iterator[str]:
    label, features = use_case.label, use_case.features
    yield from _label_column_problems(use_case)
    pii = {name: column.pii for name, column in use_case.columns(features.request_table).items()}
    # Outcomes are joined to the prediction log, which has these columns of its own.
    columns = tuple(dict.fromkeys((*features.request, *features.inputs)))
    yield from _unknown("label.key", label.key, columns, "is neither a request column nor an input; these are")
    for name in sorted(name for name in label.key if pii.get(name)):
        yield f"label.key · {name!r} is personal data that the log hides: no outcome would join. Use another key."
    for field in (field for field in ("request", "inputs") if label.name in getattr(features, field)):
        yield f"features.{field} · {label.name!r} is the label, which is unknown when a request is made. Remove it."


def _label_column_problems(use_case: "UseCase") -> Iterator[str]:
    """Of a label that no transform makes."""
    label, columns = use_case.label, use_case.columns(use_case.label.table)
    yield from (f"label.{problem}" for problem in label.contradictions())
    if label.transform:
        if not label.key:
            yield "label.key · the label has no key; legal: columns that the transform returns. Declare it."
    elif columns:
        read = filter(None, (label.name, *label.key, label.known_at))
        yield from _unknown("label", [*read], [*columns], f"is no column of {label.table}; columns")
        if label.name in columns:
            yield from use_case.task.label_problems(columns[label.name])
        if label.known_at in columns and (dtype := columns[str(label.known_at)].dtype) != "datetime":
            yield f"label.known_at · {label.known_at!r} is of type {dtype}; legal: datetime. Use another column."


def _day_problems(use_case: "UseCase") -> Iterator[str]:
    in_time = [source.table for source in use_case.sources if not isinstance(source.grain, Snapshot)]
    if in_time and use_case.first_day is None:
        yield f"first_day is missing; it is needed for sources with a time: {', '.join(in_time)}. Declare it."
    if use_case.first_day is None or use_case.last_day is None:
        return
    if use_case.last_day < use_case.first_day:
        yield f"last_day is {use_case.last_day}; legal: first_day, which is {use_case.first_day}, or later. Swap or correct them."
    else:
        yield from use_case.split.span_problems(timedelta(days=(use_case.last_day - use_case.first_day).days + 1))


def _split_problems(use_case: "UseCase") -> Iterator[str]:
    features, columns = use_case.features, use_case.columns(use_case.features.request_table)
    if columns and not use_case.is_dated:
        yield from use_case.split.undated_problems(features.request_table)
    legal = [*columns, *(feature.name for feature in features.request_features)]
    if columns:
        found = f"is neither a column of {features.request_table} nor a request feature; these are"
        yield from _unknown("split.column", use_case.split.columns, legal, found)
    if use_case.label.name in use_case.split.columns:
        yield f"split.column · {use_case.label.name!r} is the label, of which every part would lack some values. Use another."


def _rollout_problems(use_case: "UseCase") -> Iterator[str]:
    if not (isinstance(use_case.rollout, Canary) and use_case.rollout.split == "ab"):
        return
    if not use_case.serving.sticky_key:
        yield "rollout.split · 'ab' draws by serving.sticky_key, which is empty. Declare it, or use split='canary'."
    columns = use_case.columns(use_case.features.request_table)
    for name in (name for name in use_case.serving.sticky_key if name in columns and columns[name].pii == "left_out"):
        yield f"serving.sticky_key · {name!r} is left out of the log, which must show who was drawn. Use pii='hashed'."


def _monitor_problems(use_case: "UseCase") -> Iterator[str]:
    for monitor in (one for one in use_case.monitors if one.READS_VIEWS and not use_case.features.views):
        yield f"monitors · {type(monitor).__name__} judges features of views, and features.views is empty. Remove it."
    monitors, triggers = (
        dict.fromkeys(use_case.monitors),
        dict.fromkeys(use_case.triggers),
    )  # one declared twice is found elsewhere
    for field, stages in {"monitors": stage_names([*monitors]), "triggers": trigger_names([*triggers])}.items():
        for name in (name for name in dict.fromkeys(stages) if stages.count(name) > 1):
            yield f"{field} · {stages.count(name)} are named {name!r}; legal: names of their own. Give each another suffix."
    for index, one in enumerate(use_case.monitors):
        if isinstance(one, Estimation) and one.metric not in (None, *use_case.task.METRICS):
            found = f"Estimation reads {one.metric}, which {type(use_case.task).__name__} does not measure"
            yield f"monitors[{index}] · {found}; legal: {', '.join(use_case.task.METRICS)}. Use one of these."
    for field, readers in {"gates": use_case.gates, "triggers": use_case.triggers}.items():
        for index, reader in enumerate(readers):
            yield from _reader_problems(use_case, f"{field}[{index}]", reader)


def _reader_problems(use_case: "UseCase", field: str, reader: Gate | Trigger) -> Iterator[str]:
    legal = (*use_case.task.METRICS, *(FAIRNESS if use_case.task.DECIDES else ()))
    if (metric := getattr(reader, "metric", legal[0])) not in legal:
        found = f"{type(reader).__name__} reads {metric}, which {type(use_case.task).__name__} does not measure"
        yield f"{field} · {found}; legal: {', '.join(legal)}. Use one of these."
    if not (needed := READS_MONITOR.get(type(reader))):
        return
    kinds = " or ".join(one.__name__ for one in needed)
    if not (stages := [name for name, monitor in use_case.monitor_stages.items() if isinstance(monitor, needed)]):
        found = f"{type(reader).__name__} reads the result of the monitor {kinds}"
        monitors = ", ".join(type(monitor).__name__ for monitor in use_case.monitors) or "none"
        yield f"{field} · {found}; monitors: {monitors}. Declare {needed[0].__name__}()."
    elif getattr(reader, "unless_performance_holds", False) and not _has_bound(use_case):
        found = "unless_performance_holds reads the verdict of an Estimation, or of a Performance with a bound, and there is none"
        yield f"{field} · {found}. Declare Estimation(), or Performance() and an OnPerformance."
    elif isinstance(reader, OnCheck) and reader.monitor:
        yield from _unknown(f"{field}.monitor", [reader.monitor], stages, f"is no {kinds} monitor; legal")


def _has_bound(use_case: "UseCase") -> bool:
    if any(isinstance(monitor, Estimation) for monitor in use_case.monitors):
        return True
    stages = [stage for stage, monitor in use_case.monitor_stages.items() if isinstance(monitor, Performance)]
    bounds = (any(isinstance(one, OnPerformance) for one in use_case.triggers_of(stage)) for stage in stages)
    return bool(stages) and all(bounds)


def _unknown(field: str, names: Sequence[str], legal: Sequence[str], problem: str) -> Iterator[str]:
    for name in (name for name in names if name not in legal):
        yield f"{field} · {name!r} {problem}: {', '.join(legal) or 'none'}. Use one of these or declare it."
