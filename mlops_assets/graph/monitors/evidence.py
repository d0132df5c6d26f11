"""What the event log and the stores have about deliveries, code and the champion, for an investigation. Imports Polars."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import dagster as dg
import polars as pl

from mlops_assets.features.parity import sample_answers
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import Calendar
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.foundation.grains import calendar_of, view_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.graph.kernel.dagster_internals import first_made
from mlops_assets.ingestion.due import missing_partitions
from mlops_assets.ingestion.landing import Landing
from mlops_assets.monitoring.investigation.evidence import Delivery, Refill, Relation
from mlops_assets.monitoring.investigation.gather import compare_code
from mlops_assets.monitoring.investigation.relation import Sample, find_relation
from mlops_assets.monitoring.stored_periods import known_rows
from mlops_assets.spec.code_version import feature_code, is_outdated
from mlops_assets.spec.feature import FeatureView, Tables
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import IllegalLabels
from mlops_assets.training.train_and_track import SAMPLE

if TYPE_CHECKING:
    from mlops_assets.monitoring.estimation import Evaluated
    from mlops_assets.training.model_registry import ModelRegistry

MOST_FILLS, CODE_VERSION = 1000, "dagster/code_version"  # 1 ms a record
MOST_LABELLED = 50_000
FEATURE_CODE = "code.training_set"  # of the record of a training: features, label and split


class Champion(NamedTuple):
    """What is stored of the training of the version that serves: a sample of its rows, and the record of how it was made."""

    sample: pl.DataFrame
    record: Mapping[str, Any]

    @classmethod
    def read(cls, use_case: UseCase, registry: "ModelRegistry", version: int) -> "Champion":
        model = names.registered_model(use_case.name)
        sample = registry.artifact(model, version, SAMPLE)
        return cls(pl.read_parquet(BytesIO(sample)), registry.version(model, version).tags)


class Records(NamedTuple):
    """Of one use case; `champion` is None before the first."""

    use_case: UseCase
    instance: dg.DagsterInstance
    landing: Landing
    tables: DeltaTables
    champion: Champion | None

    def validated(self) -> Tables:
        """The tables that there are, by name."""
        paths = {one.table: names.validated(self.use_case.name, one.table) for one in self.use_case.contracts}
        return {table: self.tables.scan(path) for table, path in paths.items() if self.tables.exists(path)}

    def relation(self, evaluated: "Evaluated", *, start: datetime, now: datetime) -> Relation | None:
        """Of inputs and label in the outcomes of the champion; None where there are too few, or the label is another one."""
        path, label, task = names.stage(self.use_case.name, "outcomes"), self.use_case.label.name, task_of(self.use_case.task)
        if self.champion is None or not self.tables.exists(path) or label not in self.champion.sample.columns:
            return None
        own = (pl.col("model_version") == evaluated.version) & pl.col(EVENT_TIMESTAMP).is_between(start, now)
        known = known_rows(task, self.tables.scan(path).filter(own).collect(), label)
        known = sample_answers(known, max_rows=MOST_LABELLED, seed=names.SEED)
        trained = self.champion.sample.drop_nulls(label)
        try:
            training, served = (Sample(task.truth(rows[label]), rows.drop(label)) for rows in (trained, known))
        except IllegalLabels:  # of a version with other classes
            return None
        return find_relation(task, evaluated.rows, training=training, known=served)

    def deliveries(self, *, since: datetime, now: datetime) -> Iterator[Delivery]:
        """Of the partitions that end after `since`."""
        for source in self.use_case.sources:
            calendar = calendar_of(source.grain)
            deliveries = self._deliveries(source, calendar, now) if calendar.cron else ()
            yield from (one for one in deliveries if one.end > since)

    def _deliveries(self, source: Files, calendar: Calendar, now: datetime) -> Iterator[Delivery]:
        name, table = self.use_case.name, source.table
        landed = first_made(self.instance, dg.AssetKey(names.landing(name, table)))
        refusals = self.landing.of(source.form).refusals(name, table).read()
        gaps = {key for key, refusal in refusals.items() if refusal.is_gap}
        accepted, quarantined = (self._rows(stage(name, table), calendar) for stage in (names.validated, names.quarantine))
        missing = missing_partitions(self.use_case, source, landed, now=now)
        for key in sorted({*landed, *missing} - gaps):
            partition = calendar.parse(key)
            failed = " ".join(refusals[key].failed.values()) if key in refusals else ""
            rows = accepted.get(key, 0), quarantined.get(key, 0)
            yield Delivery(table, key, calendar.start(partition), calendar.end(partition), landed.get(key), *rows, failed)

    def _rows(self, path: names.AssetPath, calendar: Calendar) -> dict[str, int]:
        """By the key of the partition."""
        if not self.tables.exists(path):
            return {}
        counts = self.tables.scan(path).group_by(calendar.column).len().collect()
        return {calendar.key(partition): rows for partition, rows in counts.iter_rows()}

    def refills(self) -> Iterator[Refill]:
        """Of the views whose code changed since a partition was filled, or since the champion was trained."""
        for view in self.use_case.features.views:
            calendar, key = view_calendar(self.use_case, view), dg.AssetKey(names.feature(self.use_case.name, view.name))
            fills, present = _fills(self.instance, key) if calendar.cron else {}, feature_code(view)
            new = {partition: at for partition, (version, at) in fills.items() if not is_outdated(version, present)}
            if new and (before := self._before(view, calendar, [calendar.parse(one) for one in fills.keys() - new])):
                partition, rows = before
                at = datetime.fromtimestamp(min(new.values()), UTC)
                yield compare_code(self.use_case, view, rows, partition=partition, tables=self.validated(), at=at)

    def _before(self, view: FeatureView, calendar: Calendar, earlier: list[Any]) -> tuple[Any, pl.DataFrame] | None:
        """The newest partition that other code has filled, with its rows: one of the `earlier` ones, which are stored still, or
        one of the champion's training, in a former version of the table.
        """
        path = names.feature(self.use_case.name, view.name)
        rows = self.tables.scan(path).collect() if earlier else self._trained_on(path)
        if rows is None or rows.is_empty():
            return None
        partition = max(earlier) if earlier else calendar.of(cast(datetime, rows[EVENT_TIMESTAMP].median()))
        bounds = calendar.start(partition), calendar.end(partition)
        return partition, rows.filter(pl.col(EVENT_TIMESTAMP).is_between(*bounds, closed="left"))

    def _trained_on(self, path: names.AssetPath) -> pl.DataFrame | None:
        """The rows of a feature table as the champion's training read it, where its code was another one and they are stored."""
        record: Mapping[str, Any] = self.champion.record if self.champion else {}
        number, code = record.get(names.table_tag(path)), record.get(FEATURE_CODE)
        if number is None or code in (None, self.use_case.fingerprint("training_set")):
            return None
        try:
            return self.tables.read_version(path, int(number))
        except VersionGone:
            return None


def _fills(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, tuple[str | None, float]]:
    """By partition the code that has made it last, and when, in seconds of the epoch."""
    fills = dict[str, tuple[str | None, float]]()
    for record in instance.fetch_materializations(key, limit=MOST_FILLS).records:  # the newest first
        made = record.asset_materialization
        if made and made.partition:
            fills.setdefault(made.partition, ((made.tags or {}).get(CODE_VERSION), record.timestamp))
    return fills
