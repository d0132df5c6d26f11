"""The words of a declaration, each loaded when it is first used. One declaration per use case becomes a living asset graph, which
README.md draws.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_assets.spec.compute import Compute, Pod
    from mlops_assets.spec.contract import Column, Contract, MaxNovelShare, MaxNullShare, RowCountBand
    from mlops_assets.spec.feature import Features, FeatureView, Label
    from mlops_assets.spec.form import Csv, Excel, JsonLines, Parquet
    from mlops_assets.spec.freshness import Freshness
    from mlops_assets.spec.gate import (
        BeatsChampion,
        Budget,
        Calibrated,
        EverySlice,
        Fair,
        Floor,
        Gate,
        Latency,
        NoLeak,
        NoPii,
        NoSkew,
        Robust,
    )  # fmt: skip
    from mlops_assets.spec.grain import Daily, Hourly, Monthly, Snapshot, Weekly
    from mlops_assets.spec.monitor import DataAge, Drift, Estimation, Operations, OwnMonitor, Performance, Skew
    from mlops_assets.spec.pulled_source import Http, NextCursor, NextLink, PageNumber, Sql, Stream
    from mlops_assets.spec.request_feature import (
        Bucket,
        Difference,
        HashedWords,
        Hour,
        HoursBetween,
        IsMissing,
        Log,
        MinuteOfDay,
        Month,
        PredictionMoment,
        Ratio,
        Renamed,
        TextLength,
        Weekday,
        hashed_words,
    )  # fmt: skip
    from mlops_assets.spec.rollout import AtOnce, BusinessFigure, Canary, Rollback
    from mlops_assets.spec.serving import AnswerLog, Cache, Limits, Serving
    from mlops_assets.spec.source import Files
    from mlops_assets.spec.split import GroupSplit, RandomSplit, TimeSplit
    from mlops_assets.spec.task import Binary, Multiclass, Regression
    from mlops_assets.spec.training import (
        HistGradientBoosting,
        LightGBM,
        Lightning,
        OwnLightning,
        Range,
        Search,
        SklearnEstimator,
        Trainer,
    )  # fmt: skip
    from mlops_assets.spec.trigger import OnAlarm, OnCode, OnDrift, OnLoss, OnPerformance, OnSchedule, OnVolume, Trigger
    from mlops_assets.spec.use_case import UseCase

__all__ = [
    "AnswerLog", "AtOnce", "BeatsChampion", "Binary", "Bucket", "Budget", "BusinessFigure", "Cache", "Calibrated", "Canary",
    "Column", "Compute", "Contract", "Csv", "Daily", "DataAge", "Difference", "Drift", "Estimation", "EverySlice", "Excel",
    "Fair", "FeatureView", "Features", "Files", "Floor", "Freshness", "Gate", "GroupSplit", "HashedWords",
    "HistGradientBoosting", "Hour", "Hourly", "HoursBetween", "Http", "IsMissing", "JsonLines", "Label", "Latency", "LightGBM",
    "Lightning", "Limits", "Log", "MaxNovelShare", "MaxNullShare", "MinuteOfDay", "Month", "Monthly", "Multiclass",
    "NextCursor", "NextLink", "NoLeak", "NoPii", "NoSkew", "OnAlarm", "OnCode", "OnDrift", "OnLoss", "OnPerformance",
    "OnSchedule", "OnVolume", "Operations", "OwnLightning", "OwnMonitor", "PageNumber", "Parquet", "Performance", "Pod",
    "PredictionMoment", "RandomSplit", "Range", "Ratio", "Regression", "Renamed", "Robust", "Rollback", "RowCountBand",
    "Search", "Serving", "Skew", "SklearnEstimator", "Snapshot", "Sql", "Stream", "TextLength", "TimeSplit", "Trainer",
    "Trigger", "UseCase", "Weekday", "Weekly", "hashed_words",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in __all__:
        spec = import_module("mlops_assets.spec")
        for module in iter_modules(spec.__path__, "mlops_assets.spec."):
            if word := getattr(import_module(module.name), name, None):
                globals()[name] = word  # found without this function from now on
                return word
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
