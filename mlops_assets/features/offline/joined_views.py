"""The features of every view, computed from tables in memory and joined as Feast's offline store does: nothing is stored."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import polars as pl

from mlops_assets.features.featurize import fill_partitions
from mlops_assets.features.offline.point_in_time import Facts, join_facts
from mlops_assets.foundation.calendars import PARTITION_COLUMNS, Partition
from mlops_assets.foundation.grains import table_calendar, view_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase


class JoinedViews:
    """`tables` are the validated rows of every table; one may have none. `now` is the moment of a view without any row."""

    def __init__(self, use_case: UseCase, tables: Mapping[str, pl.DataFrame], *, now: datetime) -> None:
        self._use_case, self._tables, self._now = use_case, tables, now

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """As FeatureStore.historical."""
        facts = [self._facts(view) for view in self._use_case.features.views]
        rows = join_facts(entity_rows, facts, event_timestamp=EVENT_TIMESTAMP)
        features = [name for table in facts for name in table.features if rows.schema[name].is_float()]
        return rows.with_columns(pl.col(features).fill_nan(None)) if features else rows

    def _facts(self, view: FeatureView) -> Facts:
        tables = {name: self._tables[name].lazy() for name in view.tables}
        partitions = sorted(self._partitions(view)) or [view_calendar(self._use_case, view).of(self._now)]
        rows = fill_partitions(self._use_case, view, tables, first=partitions[0], last=partitions[-1])
        added = {*view.entity, EVENT_TIMESTAMP, *PARTITION_COLUMNS}
        features = {name: name for name in rows.columns if name not in added}
        keys = {name: name for name in view.entity}
        return Facts(view.name, rows.lazy(), keys, features, EVENT_TIMESTAMP, ttl=view.ttl)

    def _partitions(self, view: FeatureView) -> Iterator[Partition]:
        """The first and the last one of each table, as partitions of the view."""
        own = view_calendar(self._use_case, view)
        for table in view.tables:
            calendar = table_calendar(self._use_case, table)
            ends = self._tables[table][calendar.column].drop_nulls()
            if len(ends) and bool(calendar.cron) == bool(own.cron):  # a snapshot next to days has no time of its own
                yield own.of(calendar.start(ends.min()))
                yield own.of(calendar.known_at(ends.max()))
