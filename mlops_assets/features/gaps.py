"""The partitions of a view's tables for which nothing is to come, as a person has accepted."""

from mlops_assets.foundation.calendars import Partition
from mlops_assets.foundation.grains import table_calendar, view_calendar
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase


def accepted_gaps(use_case: UseCase, view: FeatureView, landing: Landing, *, first: Partition, last: Partition) -> list[str]:
    """Those that these partitions of the view read, each with its reason, such as `payments 2024-03-05 (a holiday)`."""
    own, gaps = view_calendar(use_case, view), list[str]()
    since, until = own.start(first) - view.lookback, own.end(last)
    for table in view.tables:
        calendar = table_calendar(use_case, table)
        for key, gap in landing.refusals(use_case.name, table).gaps().items():
            partition = calendar.parse(key)
            if gap.waiver and calendar.end(partition) > since and calendar.start(partition) < until:
                gaps.append(f"{table} {key} ({gap.waiver.why})")
    return gaps
