"""What is missing or suspicious in the data of a use case. To add a kind: a function of Inspected, and its name in CHECKS."""

from mlops_assets.inspection.finding import Check, Finding
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.inspection.leaks import find_leaks
from mlops_assets.inspection.suspicious_columns import find_constants, find_identifiers, find_missing, find_rare_categories
from mlops_assets.inspection.suspicious_rows import (
    find_few_rows,
    find_imbalance,
    find_late_labels,
    find_refused,
    find_repeated,
    find_small_parts,
    find_unlabelled,
    find_untrainable,
)
from mlops_assets.inspection.suspicious_values import find_spelled_twice, find_stand_ins, find_unix_times
from mlops_assets.inspection.time_travel import find_dates_ahead, find_early_labels, find_late_moments, find_shifted_labels

# The most serious first.
CHECKS: tuple[Check, ...] = (
    find_untrainable, find_leaks, find_early_labels, find_late_moments, find_dates_ahead, find_shifted_labels,
    find_identifiers, find_constants, find_repeated, find_refused, find_few_rows, find_small_parts, find_imbalance,
    find_unlabelled, find_missing, find_stand_ins, find_unix_times, find_spelled_twice, find_rare_categories, find_late_labels,
)  # fmt: skip


def find(data: Inspected) -> tuple[Finding, ...]:
    return tuple(finding for check in CHECKS for finding in check(data))
