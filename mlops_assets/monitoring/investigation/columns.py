"""Schema and unit changes: from one moment on a delivered column is in another unit, has other names for its values, or none."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.changes import Change, find_change
from mlops_assets.monitoring.investigation.evidence import AT, Evidence
from mlops_assets.statistics.metrics import Array

# New value = factor * old value + offset; the inverse of each is tried as well.
CONVERSIONS = {
    "°C to °F": (1.8, 32.0), "°C to K": (1.0, 273.15), "km to miles": (0.621371, 0.0), "m to ft": (3.28084, 0.0),
    "in to cm": (2.54, 0.0), "in to mm": (25.4, 0.0), "m/s to km/h": (3.6, 0.0), "mph to m/s": (0.44704, 0.0),
    "m/s to knots": (1.943844, 0.0), "kg to lb": (2.204623, 0.0), "h to min": (60.0, 0.0), "h to s": (3600.0, 0.0),
    "days to h": (24.0, 0.0), "days to min": (1440.0, 0.0), "weeks to days": (7.0, 0.0), "tens": (10.0, 0.0),
    "hundreds, such as cents or percent": (100.0, 0.0), "thousands": (1000.0, 0.0), "millions": (1e6, 0.0),
    "hPa to inHg": (0.02953, 0.0), "the other sign": (-1.0, 0.0),
}  # fmt: skip
UNITS = CONVERSIONS | {
    f"{name}, the other way round": (1 / factor, -offset / factor) for name, (factor, offset) in CONVERSIONS.items()
}
LEVELS = np.linspace(0.05, 0.95, 19)
MAX_ERROR, LARGE = 0.06, 5.0  # of a fit, in standard deviations; a factor of no population
UNEXPLAINED = 0.2  # of the difference at most: a week of storms delays flights nearly as °F in place of °C would, up to 0.37
DECIMALS, MOSTLY, NEARLY = 6, 0.5, 0.1  # shares of values
KNOWN_UNIT, MODERATE_UNIT, OTHER_FACTOR, RENAMED, SAME_TEXTS, EMPTY = 0.88, 0.7, 0.75, 0.75, 0.9, 0.85
GRADUAL = 0.4  # the weight of a change that is none of a moment
MIN_ROWS = 20
MIN_DISTINCT = 5  # quantiles: rain is 0 in most hours, and two points are always on a line
REMEDY = "Ask the supplier; correct the contract or convert the column in the transform, and fill again from that moment."


class Finding(NamedTuple):
    confidence: float
    evidence: str


class Column(NamedTuple):
    """Delivered values by moment, and those of before the window."""

    where: str
    reference: pl.Series
    values: pl.Series
    moments: pl.Series


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    read = {name: evidence.origins[name].columns for name in evidence.affected}
    for source in sorted(frozenset[str]().union(*read.values())):
        column = _column(evidence, *source.split("."))
        change = column and find_change(column.reference, column.values, column.moments)
        if not column or not change or not (finding := _finding(column, change)):
            continue
        inputs = frozenset(name for name, columns in read.items() if source in columns)
        agreement = max(evidence.agreement(name) for name in inputs)
        weight = agreement * (1.0 if change.is_step else GRADUAL)
        yield Cause(Kind.SCHEMA, column.where, change.since, finding.confidence * weight, f"{finding.evidence}.", REMEDY, inputs)


def _column(evidence: Evidence, table: str, name: str) -> Column | None:
    """What was sent, where it is part of the request; else what was delivered."""
    rows = evidence.sources.get(table, pl.DataFrame())
    if name not in rows.columns or rows.schema[name].is_temporal():
        return None
    before, since = rows.filter(pl.col(AT) < evidence.start), rows.filter(pl.col(AT) >= evidence.start)
    if table == evidence.use_case.features.request_table and name in evidence.served.columns:
        return Column(f"predictions.{name}", before[name], evidence.served[name], evidence.served[EVENT_TIMESTAMP])
    path = names.validated(evidence.use_case.name, table)[-1]
    return Column(f"{path}.{name}", before[name], since[name], since[AT])


def _finding(column: Column, change: Change) -> Finding | None:
    before, after = column.reference, column.values[change.first :]
    if before.null_count() < 0.5 * len(before) and after.null_count() > 0.95 * len(after):
        return Finding(EMPTY, f"The column has no values any more: {after.null_count():,} of {len(after):,} are missing")
    before, after = before.drop_nulls(), after.drop_nulls()
    if min(len(before), len(after)) < MIN_ROWS:
        return None
    if before.dtype.is_numeric() and after.dtype.is_numeric():
        numbers = (one.cast(pl.Float64).to_numpy() for one in (before, after))
        return _unit(*numbers, chance=float(np.sqrt(change.dispersion / min(len(before), len(after)))))
    return _renaming(*(one.cast(pl.String) for one in (before, after)))


def _unit(before: Array, after: Array, *, chance: float) -> Finding | None:
    """Quantiles against quantiles are a straight line where one is a linear map of the other. `chance` is the standard error of a
    mean, in standard deviations; that of an outer quantile is about twice as large.
    """
    x, y = (np.quantile(one, LEVELS) for one in (before, after))
    if min(len(np.unique(one)) for one in (x, y)) < MIN_DISTINCT:
        return None
    errors = {name: _error(factor * x + offset, y) for name, (factor, offset) in UNITS.items()}
    name = min(errors, key=lambda name: errors[name])
    (factor, offset), bound = UNITS[name], min(MAX_ERROR + 1.5 * chance, UNEXPLAINED * _error(x, y))
    if errors[name] < bound:
        written = f"{factor:.4g} times the earlier ones{f' {offset:+.4g}' if offset else ''}"
        confidence = KNOWN_UNIT if offset or not 1 / LARGE < factor < LARGE else MODERATE_UNIT
        return (
            Finding(confidence, f"Its values are {written}: {name}") if _can_be(factor * before + offset, before, after) else None
        )
    factor, offset = np.polyfit(x, y, 1)
    if _error(factor * x + offset, y) < bound and not 1 / LARGE < factor < LARGE:
        return Finding(OTHER_FACTOR, f"All its quantiles are {factor:.4g} times the earlier ones, which no population is")
    return None


def _can_be(mapped: Array, before: Array, after: Array) -> bool:
    """Whether the values are rather those that a conversion gives than those that there have always been: 37.04 °F can be
    measured, and 1.8 times no whole minutes gives most whole minutes. Values that are hardly ever repeated tell nothing.
    """
    decimals = next(
        (places for places in range(DECIMALS) if np.allclose(after, np.round(after, places), rtol=0, atol=1e-9)), DECIMALS
    )
    converted, old = (np.isin(np.round(after, decimals), np.round(one, decimals)).mean() for one in (mapped, before))
    return bool(old < max(MOSTLY, converted + NEARLY))


def _error(mapped: Array, quantiles: Array) -> float:
    """The mean difference of quantiles, in standard deviations of them."""
    return float(np.abs(np.sort(mapped) - quantiles).mean() / max(quantiles.std(), 1e-12))


def _renaming(before: pl.Series, after: pl.Series) -> Finding | None:
    """New values in place of the old ones, with the same shares."""
    shares = [one.value_counts(normalize=True, sort=True, name="share").rows() for one in (before, after)]
    old, new = (dict(pairs) for pairs in shares)
    unknown = {value: share for value, share in new.items() if value not in old}
    gone = {value: share for value, share in old.items() if value not in new}
    if min(sum(unknown.values()), sum(gone.values())) < 0.05:
        return None
    shown = (
        f"{some([*gone], 3)} in place of {some([*unknown], 3)}"
        if not unknown
        else f"{some([*unknown], 3)} in place of {some([*gone], 3)}"
    )
    if {_plain(value) for value in unknown} <= {_plain(value) for value in gone}:
        return Finding(SAME_TEXTS, f"Values are written differently: {shown}")
    pairs = zip(sorted(unknown.values(), reverse=True), sorted(gone.values(), reverse=True), strict=False)
    if len(unknown) == len(gone) and sum(abs(a - b) for a, b in pairs) < 0.25 * sum(gone.values()):
        return Finding(RENAMED, f"Values have other names with the same shares: {shown}")
    return None


def _plain(value: str) -> str:
    return "".join(filter(str.isalnum, value)).casefold()
