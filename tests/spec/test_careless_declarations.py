"""What a careless user declares: wrong types, typos, numbers out of range, fields that contradict each other.

Each is refused when it is built, with this message.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from mlops_assets.spec.contract import Column, RowCountBand
from mlops_assets.spec.feature import Features, FeatureView, Label
from mlops_assets.spec.form import Csv
from mlops_assets.spec.gate import Floor, NoLeak
from mlops_assets.spec.grain import Daily, Hourly, Snapshot
from mlops_assets.spec.monitor import Drift, Performance, Skew
from mlops_assets.spec.pulled_source import Http, NextCursor, PageNumber, Sql, Stream
from mlops_assets.spec.request_feature import Bucket, Difference, HashedWords, Hour, PredictionMoment
from mlops_assets.spec.rollout import BusinessFigure, Canary
from mlops_assets.spec.serving import Cache, Limits, Serving
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.split import GroupSplit, RandomSplit, TimeSplit
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.spec.training import HistGradientBoosting, Lightning, SklearnEstimator
from mlops_assets.spec.trigger import OnSchedule
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import DAY, LOANS, contract
from tests.spec.samples import TUMOR

COLUMN: dict[str, Any] = {"name": "a", "description": "."}
SQL: dict[str, Any] = {"table": "t", "time": "at", "url_variable": "URL"}
HTTP: dict[str, Any] = {"table": "t", "time": "at"}
STREAM: dict[str, Any] = {"table": "t", "time": "at", "brokers_variable": "BROKERS", "topic": "orders", "group": "g"}
VIEW: dict[str, Any] = {
    "name": "paid",
    "description": ".",
    "tables": ("payments",),
    "transform": lambda tables, start, end: tables,
}


def task(declared: Any) -> UseCase:
    """The samples with another task, whose inputs follow from it."""
    return TUMOR.but(task=declared, features=Features())


def only(source: Files) -> UseCase:
    return TUMOR.but(sources=(source,), first_day=None)


ILLEGAL: list[tuple[Callable[[], Any], str]] = [
    (lambda: FeatureView(**VIEW, lookback=36), "paid · FeatureView · lookback = 36 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: TimeSplit(test=30, validation=14), "TimeSplit · test = 30 · Input should be a duration with its unit, such as timedelta(days=30). Correct it.\nTimeSplit · validation = 14 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: Drift(window=30), "Drift · window = 30 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: Limits(timeout=0.5), "Limits · timeout = 0.5 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: Cache(ttl="1 minute"), "Cache · ttl = '1 minute' · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: PredictionMoment(column="at", before=5), "PredictionMoment · before = 5 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: FeatureView(**VIEW, lookback=timedelta.max), "paid · FeatureView · lookback = datetime.timedelta(days=999999999, seconds=86399, microseconds=999999) · Input should be at most 100 years. Correct it."),
    (lambda: Performance(window=timedelta.max), "Performance · window = datetime.timedelta(days=999999999, seconds=86399, microseconds=999999) · Input should be at most 100 years. Correct it."),
    (lambda: LOANS.but(split=TimeSplit(test=40000 * DAY, validation=DAY)), "TimeSplit · test = datetime.timedelta(days=40000) · Input should be at most 100 years. Correct it."),
    (lambda: TUMOR.but(first_day="2024-03-01"), "tumor · UseCase · first_day = '2024-03-01' · Input should be a date, such as date(2024, 3, 1). Correct it."),
    (lambda: TUMOR.but(first_day=datetime(2024, 3, 1, 5)), "tumor · UseCase · first_day = datetime.datetime(2024, 3, 1, 5, 0) · Input should be a date, such as date(2024, 3, 1). Correct it."),
    (lambda: TUMOR.but(first_day=date(202, 3, 1)), "tumor · UseCase · first_day = datetime.date(202, 3, 1) · Input should be greater than or equal to 1900-01-01. Correct it."),
    (lambda: TUMOR.but(name="x" * 64), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx · UseCase · name = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' · String should have at most 63 characters. Correct it."),
    (lambda: TUMOR.but(name="select *"), "select * · UseCase · name = 'select *' · String should match pattern '^[a-z][a-z0-9_]*$'. Correct it."),
    (lambda: TUMOR.but(question=""), "tumor · UseCase · question = '' · String should have at least 1 character. Correct it."),
    (lambda: TUMOR.but(sources=()), "tumor · UseCase · sources = () · Tuple should have at least 1 item after validation, not 0. Correct it."),
    (lambda: TUMOR.but(sources=TUMOR.sources[0]), "tumor · UseCase · sources = Files(table='samples', grain=Daily(tz='UTC'), form=Csv(missing=(), date_format=None, datetime_format=None, time_zone='UTC', doubled='refuse', delimiter=',', quote='\"', decimal='.', thousands='', encoding='utf-8', skip_lines=0, names=()), only_when_changed=False, max_bytes=100000000, path=None) · Input should be a valid tuple. Correct it."),
    (lambda: TUMOR.but(gates=(NoLeak,)), "tumor · UseCase · gates.0 = NoLeak, a class without its parentheses · Input should be an instance of Gate. Correct it."),
    (lambda: TUMOR.but(gates=(Floor(metric="auc", bound=0.7), Drift())), "tumor · UseCase · gates.1 = Drift(window=datetime.timedelta(days=30), max_psi=0.25, max_ks=0.2, max_new_share=0.05, max_missing_change=0.1, false_discovery_rate=0.01, min_rows=1000) · Input should be an instance of Gate. Correct it."),
    (lambda: TUMOR.but(task="binary"), "tumor · UseCase · task = 'binary' · Input should be an instance of Binary, Multiclass or Regression. Correct it."),
    (lambda: TUMOR.but(trainer="lightning"), "tumor · UseCase · trainer = 'lightning' · Input should be an instance of Trainer. Correct it."),
    (lambda: TUMOR.but(trainer=Lightning), "tumor · UseCase · trainer = Lightning, a class without its parentheses · Input should be an instance of Trainer. Correct it."),
    (lambda: TUMOR.but(serving=Cache()), "tumor · UseCase · serving = Cache(max_entries=10000, ttl=datetime.timedelta(seconds=60)) · Input should be an instance of Serving. Correct it."),
    (lambda: Files(table="t", grain=Daily), "t · Files · grain = Daily, a class without its parentheses · Input should be an instance of Hourly, Daily, Weekly, Monthly or Snapshot. Correct it."),
    (lambda: Files(table="t", form="csv"), "t · Files · form = 'csv' · Input should be an instance of Csv, Parquet, JsonLines or Excel. Correct it."),
    (lambda: Files(table="../t"), "../t · Files · table = '../t' · String should match pattern '^[a-z][a-z0-9_]*$'. Correct it."),
    (lambda: Files(table="Orders"), "Orders · Files · table = 'Orders' · String should match pattern '^[a-z][a-z0-9_]*$'. Correct it."),
    (lambda: only(Files(table="samples", grain=Snapshot(), form=Csv(names=("sample", "radius")))), "tumor · UseCase · sources[samples].form.names · they lack columns of the contract: patient, cells, stained, laboratory, taken_at, diagnosis. Add them."),
    (lambda: only(Files(table="samples", grain=Hourly())), "tumor · UseCase · first_day is missing; it is needed for sources with a time: samples. Declare it."),
    (lambda: Csv(delimiter="a"), "Csv · delimiter · 'a'; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Csv(quote="7"), "Csv · quote · '7'; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Column(**COLUMN, dtype="int", min="5"), "a · Column · min = '5' · Input should be a valid number. Correct it."),
    (lambda: Column(**COLUMN, dtype="int", min=True), "a · Column · min = True · Input should be a valid number. Correct it."),
    (lambda: Column(**COLUMN, dtype="string", allowed=("x", "y"), pattern="[xz]"), "a · Column · allowed · 'y' does not match the pattern '[xz]'. Leave one of them out."),
    (lambda: Column(**COLUMN, dtype="int", renamed_from=""), "a · Column · renamed_from = '' · String should have at least 1 character. Correct it."),
    (lambda: Column(**{**COLUMN, "description": ""}, dtype="int"), "a · Column · description = '' · String should have at least 1 character. Correct it."),
    (lambda: Column(**COLUMN, dtype="integer"), "a · Column · dtype = 'integer' · Input should be 'string', 'category', 'int', 'float', 'decimal', 'bool', 'datetime' or 'date'. Correct it."),
    (lambda: contract(expectations=RowCountBand()), "applications · Contract · expectations = RowCountBand(min_ratio=0.5, max_ratio=2.0, partitions=28) · Input should be a valid tuple. Correct it."),
    (lambda: Sql(**SQL, from_table=""), "t · Sql · from_table = '' · String should have at least 1 character. Correct it."),
    (lambda: Sql(**SQL, query=""), "t · Sql · query = '' · String should have at least 1 character. Correct it."),
    (lambda: Sql(**SQL, from_table="orders", cursor="", lag=0), "t · Sql · cursor = '' · String should have at least 1 character. Correct it."),
    (lambda: Sql(**SQL, from_table="orders", every=5), "t · Sql · every = 5 · Input should be a duration with its unit, such as timedelta(days=30). Correct it."),
    (lambda: Http(**HTTP, url="https://[::1/orders"), "t · Http · url · its host or port cannot be read; legal: https://host/path or http://host/path. Correct it."),
    (lambda: Http(**HTTP, url="https://me:secret@host:99999/orders"), "t · Http · url · its host or port cannot be read; legal: https://host/path or http://host/path. Correct it."),
    (lambda: Http(**HTTP, url="https://host/orders", records="$[0]"), "t · Http · records = '$[0]' · Input should be names with dots between, such as $.data.items. Correct it."),
    (lambda: Http(**HTTP, url="https://host/orders", pages=PageNumber), "t · Http · pages = PageNumber, a class without its parentheses · Input should be an instance of PageNumber, NextCursor or NextLink. Correct it."),
    (lambda: Http(**HTTP, url="https://host/orders", token_header="A\r\nB"), "t · Http · token_header = 'A\\r\\nB' · String should match pattern '^[A-Za-z0-9_-]+$'. Correct it."),
    (lambda: NextCursor(path=""), "NextCursor · path = '' · Input should be names with dots between, such as $.data.items. Correct it."),
    (lambda: PageNumber(param=""), "PageNumber · param = '' · String should have at least 1 character. Correct it."),
    (lambda: Stream(**{**STREAM, "topic": "my orders"}), "t · Stream · topic = 'my orders' · String should match pattern '^[A-Za-z0-9._-]{1,249}$'. Correct it."),
    (lambda: Stream(**{**STREAM, "group": ""}), "t · Stream · group = '' · String should have at least 1 character. Correct it."),
    (lambda: RandomSplit(test="0.2"), "RandomSplit · test = '0.2' · Input should be a valid number. Correct it."),
    (lambda: RandomSplit(stratify="label"), "RandomSplit · stratify = 'label' · Input should be a valid boolean. Correct it."),
    (lambda: TUMOR.but(split=GroupSplit(column="diagnosis")), "tumor · UseCase · split.column · 'diagnosis' is the label, of which every part would lack some values. Use another."),
    (lambda: TUMOR.but(split=RandomSplit), "tumor · UseCase · split = RandomSplit, a class without its parentheses · Input should be an instance of TimeSplit, RandomSplit or GroupSplit. Correct it."),
    (lambda: LOANS.but(split=TimeSplit(test=DAY, validation=DAY, label_delay=2 * DAY)), "loans · UseCase · split · test, validation and three times label_delay take 8 days of the 8 that can land; legal: fewer, so that days to train on are left. Shorten them."),
    (lambda: Binary(label=""), "Binary · label = '' · String should have at least 1 character or Input should be an instance of Label. Correct it."),
    (lambda: Binary(label="diagnosis", positive="M", threshold="0.5"), "Binary · threshold = '0.5' · Input should be a valid number. Correct it."),
    (lambda: task(Binary(label="stained", positive="ja")), "tumor · UseCase · task.positive · 'ja' is no value of column 'stained'; legal: true, false. Use one of these."),
    (lambda: task(Binary(label="cells", positive="many")), "tumor · UseCase · task.positive · 'many' is no value of column 'cells'; legal: whole numbers from 1. Use one of these."),
    (lambda: task(Binary(label="cells", positive=0)), "tumor · UseCase · task.positive · 0 is no value of column 'cells'; legal: whole numbers from 1. Use one of these."),
    (lambda: task(Multiclass(label="cells", classes=("few", "many"))), "tumor · UseCase · task.classes · 'few' is no value of column 'cells'; legal: whole numbers from 1. Use one of these.\ntumor · UseCase · task.classes · 'many' is no value of column 'cells'; legal: whole numbers from 1. Use one of these."),
    (lambda: task(Multiclass(label="stained", classes=("yes", "no"))), "tumor · UseCase · task.classes · 'yes' is no value of column 'stained'; legal: true, false. Use one of these.\ntumor · UseCase · task.classes · 'no' is no value of column 'stained'; legal: true, false. Use one of these."),
    (lambda: Multiclass(label="kind", classes=(1.5, 2)), "Multiclass · classes.0 = 1.5 · Input should be a valid string or Input should be a valid integer. Correct it."),
    (lambda: Regression(label="radius", coverage=90), "Regression · coverage = 90 · Input should be less than 1. Correct it."),
    (lambda: Label(name="Late arrival"), "Late arrival · Label · name = 'Late arrival' · String should match pattern '^[a-z][a-z0-9_]*$'. Correct it."),
    (lambda: Label(name="late", key="number"), "late · Label · key = 'number' · Input should be a valid tuple. Correct it."),
    (lambda: Bucket(name="size", column="amount", bounds=(float("nan"),)), "size · Bucket · bounds.0 = nan · Input should be a finite number. Correct it."),
    (lambda: HashedWords(name="w", column="text", bucket=0, buckets=0), "w · HashedWords · buckets = 0 · Input should be greater than or equal to 1. Correct it."),
    (lambda: Hour(name="hour", column="at", tz="UTC"), "hour · Hour · field 'tz' does not exist; legal: name, column, zone. Remove or rename it."),
    (lambda: Difference(name="gap", column="amount"), "gap · Difference · field 'minus' is missing; required: name, column, minus. Add it."),
    (lambda: Skew(min_rows=100, max_rows=10), "Skew · max_rows is 10, and min_rows is 100; legal: max_rows at least min_rows, or there are never enough. Raise or lower one."),
    (lambda: OnSchedule(cron="L * * * *"), "OnSchedule · cron · the minute of 'L * * * *' is illegal; legal: *, 0 to 59, a-b, a,b and */n. Correct it."),
    (lambda: OnSchedule(cron="0 0 * * 7#6"), "OnSchedule · cron · the day of week of '0 0 * * 7#6' is illegal; legal: *, 0 to 7 or sun to sat, a-b, a,b and */n. Correct it."),
    (lambda: Canary(step_rows=0.5), "Canary · step_rows = 0.5 · Input should be a valid integer. Correct it."),
    (lambda: BusinessFigure(name="cost", low=0, high=1, of=len, max_loss=5), "cost · BusinessFigure · max_loss is 5, and no two figures are further apart than 1, so that no loss is ever found. Lower it."),
    (lambda: Serving(sticky_key="customer"), "Serving · sticky_key = 'customer' · Input should be a valid tuple. Correct it."),
    (lambda: Lightning(hidden=(64, 0)), "Lightning · hidden.1 = 0 · Input should be greater than or equal to 1. Correct it."),
    (lambda: Lightning(seed=-1), "Lightning · seed = -1 · Input should be greater than or equal to 0. Correct it."),
    (lambda: HistGradientBoosting(seed=2**40), "HistGradientBoosting · seed = 1099511627776 · Input should be less than 4294967296. Correct it."),
    (lambda: SklearnEstimator(estimator="LogisticRegression"), "SklearnEstimator · estimator = 'LogisticRegression' · String should match pattern '^[A-Za-z_][\\w.]*:[A-Za-z_]\\w*$'. Correct it."),
]  # fmt: skip


@pytest.mark.parametrize(("declare", "message"), ILLEGAL, ids=[message.replace("\n", " ")[:70] for _, message in ILLEGAL])
def test_a_careless_declaration_is_refused_with_one_clear_sentence(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(IllegalDeclaration) as refused:
        declare()
    assert str(refused.value) == message


def test_a_list_declares_what_a_tuple_does() -> None:
    assert TUMOR.but(sources=[*TUMOR.sources], slices=["laboratory"]) == TUMOR.but(slices=("laboratory",))


def test_true_is_a_value_of_a_label_that_is_true_or_false() -> None:
    for positive in (True, "true", "True", 1, "1"):
        assert task(Binary(label="stained", positive=positive)).task.positive == positive
