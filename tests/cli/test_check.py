"""`mlops check` finds every illegal declaration, with one exact line for each problem."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import mlops_assets.cli.check
from mlops_assets.cli.app import app
from mlops_assets.use_cases import USE_CASES, load_use_cases
from tests.inspection.orders import orders, write

IMPORTS = """
from datetime import date, timedelta
import polars as pl
from mlops_assets.spec.contract import *
from mlops_assets.spec.feature import *
from mlops_assets.spec.gate import *
from mlops_assets.spec.grain import *
from mlops_assets.spec.freshness import *
from mlops_assets.spec.monitor import *
from mlops_assets.spec.request_feature import *
from mlops_assets.spec.serving import *
from mlops_assets.spec.split import *
from mlops_assets.spec.task import *
from mlops_assets.spec.training import *
from mlops_assets.spec.trigger import *
from tests.cli.loans import *
from tests.inspection.orders import USE_CASE as ORDERS
from tests.spec.samples import TUMOR
"""
# What is declared, and what `mlops check` prints after the name of its module.
ILLEGAL: list[tuple[str, str]] = [
    ('column("amount", min=5, max=1)', "amount · Column · min to max is 5 to 1; legal: min at most max. Swap or widen them."),
    ('column("purpose", min=1)', "purpose · Column · min · 'purpose' is of type string; legal: int, float, decimal. Leave it out, or change the type."),
    ('column("insured", allowed=("true",))', "insured · Column · allowed · 'insured' is of type bool; legal: string, category. Leave it out, or change the type."),
    ('column("amount", pattern="^[0-9]+$")', "amount · Column · pattern · 'amount' is of type float; legal: string, category. Leave it out, or change the type."),
    ('column("customer", pattern="[")', "customer · Column · pattern · '[' is not a regular expression: unterminated character set at position 0. Correct it."),
    ('column("amount", example="much")', "amount · Column · example · 'much' is no value of this column; legal: type float, within min, max and allowed. Correct it."),
    ('column("purpose", allowed=("car", "car"))', "purpose · Column · allowed · 'car' is declared twice. Keep one."),
    ('column("amount", max=float("nan"))', "amount · Column · max = nan · Input should be a finite number. Correct it."),
    ('contract(day="number")', "applications · Contract · day · 'number' is of type int; datetimes and dates: applied_at, ended_at. Use one of these, or leave day out."),
    ('LOANS.but(sources=(Files(table="applications", grain=Hourly()), LOANS.sources[1]), contracts=(APPLICATIONS.but(columns=(*APPLICATIONS.columns, Column(name="on", dtype="date", description=".")), day="on"), PAYMENTS))', "loans · UseCase · contracts[applications].day · 'on' is a date, which has no hour; legal: a datetime. Use one, or another grain."),
    ('contract(day="ended")', "applications · Contract · column 'ended' is not in the contract; legal: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted. Use one of these."),
    ('contract(unique=("numbers",))', "applications · Contract · column 'numbers' is not in the contract; legal: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted. Use one of these."),
    ('contract(unique=("number", "number"))', "applications · Contract · unique · 'number' is declared twice. Keep one."),
    ("contract(columns=(*APPLICATIONS.columns, APPLICATIONS.columns[0]))", "applications · Contract · columns · 'number' is declared twice. Keep one."),
    ('contract(columns=(*APPLICATIONS.columns, Column(name="day", dtype="int", description=".")))', "applications · Contract · column 'day' is one that the platform adds (day, hour_start, source_file, source_line, source_digest, problem, reasons). Rename yours."),
    ('contract(expectations=(MaxNullShare(column="sum", share=0.1),))', "applications · Contract · column 'sum' is not in the contract; legal: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted. Use one of these."),
    ("contract(expectations=(RowCountBand(min_ratio=3, max_ratio=2),))", "RowCountBand · min_ratio to max_ratio is 3 to 2; legal: min_ratio at most max_ratio. Swap or widen them."),
    ('LOANS.but(sources=(*LOANS.sources, Files(table="payments")))', "loans · UseCase · sources · 'payments' is declared twice. Keep one."),
    ("LOANS.but(sources=LOANS.sources[:1])", "loans · UseCase · contracts · 'payments' has no source; sources: applications. Use one of these or declare it."),
    ("LOANS.but(contracts=(*LOANS.contracts, PAYMENTS))", "loans · UseCase · contracts · 'payments' is declared twice. Keep one."),
    ("LOANS.but(first_day=date(2024, 4, 1))", "loans · UseCase · last_day is 2024-03-08; legal: first_day, which is 2024-04-01, or later. Swap or correct them."),
    ("LOANS.but(split=TimeSplit(test=5 * DAY, validation=3 * DAY))", "loans · UseCase · split · test and validation take 8 days of the 8 that can land; legal: fewer, so that days to train on are left. Shorten them."),
    ("LOANS.but(gates=())", "loans · UseCase · gates = () · Tuple should have at least 1 item after validation, not 0. Correct it."),
    ('LOANS.but(gates=(Fair(column="gender", max_gap=0.1),))', "loans · UseCase · gates[0].column · 'gender' is no column of the training rows; these are: number, customer, amount, purpose, applied_at, event_timestamp, last_paid. Use one of these, or add it to a view."),
    ('LOANS.but(gates=(EverySlice(column="purpose", metric="auc", bound=0.6),))', "loans · UseCase · gates[0].column · 'purpose' is not a declared slice; slices: none. Use one of these or declare it."),
    ("LOANS.but(gates=(NoSkew(),))", "loans · UseCase · gates[0] · NoSkew reads the result of the monitor Skew; monitors: none. Declare Skew()."),
    ('LOANS.but(gates=(Floor(metric="auc", bound=1.2),))', "Floor · bound · auc is never 1.2; legal: 0 to 1. Correct it."),
    ("LOANS.but(gates=(NoLeak(), NoLeak()))", "loans · UseCase · gates · NoLeak(max_single_auc=0.85, max_split_gap=0.05) is declared twice. Keep one."),
    ('LOANS.but(slices=("city",))', "loans · UseCase · slices · 'city' is not an input of the model; inputs: amount, last_paid, purpose. Use one of these or declare it."),
    ("LOANS.but(triggers=(OnDrift(),))", "loans · UseCase · triggers[0] · OnDrift reads the result of the monitor Drift; monitors: none. Declare Drift()."),
    ('LOANS.but(triggers=(OnPerformance(metric="auc", bound=0.7),))', "loans · UseCase · triggers[0] · OnPerformance reads the result of the monitor Performance; monitors: none. Declare Performance()."),
    ('LOANS.but(triggers=(OnSchedule(cron="0 6 * * 1"), OnSchedule(cron="0 6 * * 1")))', "loans · UseCase · triggers · OnSchedule(cron='0 6 * * 1') is declared twice. Keep one."),
    ('LOANS.but(triggers=(OnSchedule(cron="0 25 * * *"),))', "OnSchedule · cron · the hour of '0 25 * * *' is illegal; legal: *, 0 to 23, a-b, a,b and */n. Correct it."),
    ('LOANS.but(triggers=(OnSchedule(cron="0 6 30 feb *"),))', "OnSchedule · cron · '0 6 30 feb *' never fires: these months have at most 29 days. Correct the day or the month."),
    ('LOANS.but(monitors=(Drift(suffix="a"), Drift(suffix="a", window=DAY)))', "loans · UseCase · monitors · 2 are named 'drift_a'; legal: names of their own. Give each another suffix."),
    ('LOANS.but(monitors=(Drift(),), triggers=(OnDrift(monitor="drift_week"),))', "loans · UseCase · triggers[0].monitor · 'drift_week' is no Drift monitor; legal: drift. Use one of these or declare it."),
    ('LOANS.but(serving=Serving(sticky_key=("client",)))', "loans · UseCase · serving.sticky_key · 'client' is not a request column; request: number, customer, amount, purpose, applied_at. Use one of these or declare it."),
    ('LOANS.but(owner="somebody")', "loans · UseCase · owner = 'somebody' · String should match pattern '^(team:[\\w-]+|[^@\\s]+@[^@\\s]+)$'. Correct it."),
    ("LOANS.but(gate=())", "loans · UseCase · field 'gate' does not exist; legal: name, owner, question, risk, first_day, last_day, sources, contracts, features, task, split, trainer, search, reference, slices, gates, monitors, triggers, freshness, serving, rollout, compute, example. Remove or rename it."),
    ('features(request=("number", "customer", "amout", "purpose", "applied_at"))', "loans · UseCase · features.request · 'amout' is not a column of its table; columns: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted. Use one of these or declare it."),
    ('features(request=(*LOANS.features.request, "defaulted"))', "loans · UseCase · features.request · 'defaulted' is the label, which is unknown when a request is made. Remove it."),
    ('features(request_table="requests")', "loans · UseCase · features.request_table · 'requests' has no contract; contracts: applications, payments. Use one of these or declare it."),
    ('features(numeric=("amount", "last_paid", "defaulted"))', "loans · UseCase · features.inputs · 'defaulted' is the label, which is unknown when a request is made. Remove it."),
    ('features(numeric=("amount", "last_payed"))', "loans · UseCase · features.inputs · 'last_payed' comes from no view and not from the request; these have: number, customer, amount, purpose, applied_at, event_timestamp, last_paid. Use one of these."),
    ('features(numeric=("amount", "amount"))', "loans_v1 · Features · numeric · 'amount' is declared twice. Keep one."),
    ('features(numeric=("amount", "purpose"), categorical=())', "loans · UseCase · features.numeric · 'purpose' is a String; legal: a number. Convert it, or declare it in categorical."),
    ("features(numeric=(), categorical=())", "loans · UseCase · features.numeric · no input is declared, and the columns of views and entity_rows are known only when they run. Declare numeric or categorical."),
    ('features(numeric=("amount", "purpose"))', "loans_v1 · Features · inputs · 'purpose' is declared twice, in numeric and in categorical. Keep one."),
    ('features(numeric=("amount", "split"))', "loans_v1 · Features · inputs · 'split' is a column that the platform adds (event_timestamp, known_at, split). Rename yours."),
    ("features(views=(VIEW, VIEW))", "loans_v1 · Features · views · 'last_payment' is declared twice. Keep one."),
    ("features(views=())", "loans · UseCase · features.inputs · 'last_paid' comes from no view and not from the request; these have: number, customer, amount, purpose, applied_at, event_timestamp. Use one of these."),
    ("features(request_features=(), entity_rows=lambda rows: rows)", "loans · UseCase · features.entity_rows · returns no 'event_timestamp'; it returns: number, customer, amount, purpose, applied_at. Add it, or correct the declared name."),
    ('features(request_features=(), entity_rows=lambda rows: rows.with_columns(pl.col("sum").alias("event_timestamp")))', 'loans · UseCase · features.entity_rows · fails on tables without rows: ColumnNotFoundError: unable to find column "sum"; valid columns: ["number", "customer", "amount", "purpose", "applied_at"]. Correct it.'),
    ('features(request_table="")', "loans · UseCase · features.request_table · there are several tables, and none is declared; legal: applications, payments. Declare it."),
    ('LOANS.but(split=RandomSplit(test=0.5, validation=0.5))', "RandomSplit · test and validation are 0.5 and 0.5 of the rows; legal: together less than 1, so that rows to train on are left. Lower them."),
    ('LOANS.but(split=GroupSplit(column="branch"))', "loans · UseCase · split.column · 'branch' is neither a column of applications nor a request feature; these are: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted, event_timestamp. Use one of these or declare it."),
    ('LOANS.but(contracts=(APPLICATIONS.but(day=None), PAYMENTS), features=LOANS.features.but(request_features=()))', "loans · UseCase · split · TimeSplit orders requests by their time, and the rows of applications have none; legal: RandomSplit, GroupSplit. Use one, or declare a PredictionMoment or the contract's day."),
    ('LOANS.but(task=Binary(label="default"))', "loans · UseCase · label · 'default' is no column of applications; columns: number, customer, amount, purpose, insured, applied_at, ended_at, defaulted. Use one of these or declare it."),
    ('LOANS.but(task=Binary(label="amount"), features=LOANS.features.but(views=(), request=(), numeric=("number",)))', "loans · UseCase · task.label · 'amount' is of type float; legal: string, category, int, bool. Use another column, or a Label with a transform."),
    ('LOANS.but(task=Regression(label="purpose"), features=Features(request_table="applications"))', "loans · UseCase · task.label · 'purpose' is of type string; legal: int, float, decimal. Use another column, or a Label with a transform."),
    ('LOANS.but(task=Binary(label="purpose"), features=Features(request_table="applications"))', "loans · UseCase · task.positive · 'purpose' is text, and no value is declared that means yes; legal: car, home. Declare it."),
    ('LOANS.but(task=Binary(label="purpose", positive="boat"), features=Features(request_table="applications"))', "loans · UseCase · task.positive · 'boat' is no value of column 'purpose'; legal: car, home. Use one of these."),
    ('LOANS.but(task=Multiclass(label="purpose", classes=("car", "boat")), features=Features(request_table="applications"))', "loans · UseCase · task.classes · 'boat' is no value of column 'purpose'; legal: car, home. Use one of these."),
    ('LOANS.but(task=Binary(label="number"))', "loans · UseCase · label.name · 'number' is in the key or a column that the platform adds (event_timestamp, known_at, split); legal: any other name. Rename it.\nloans · UseCase · features.request · 'number' is the label, which is unknown when a request is made. Remove it."),
    ('label(transform=None, known_at="amount")', "loans · UseCase · label.known_at · 'amount' is of type float; legal: datetime. Use another column."),
    ('label(known_at="ended_at")', "defaulted · Label · known_at · 'ended_at' is declared, and the transform returns it as well. Leave one out."),
    ('LOANS.but(monitors=(Skew(),), features=Features(request_table="applications"))', "loans · UseCase · monitors · Skew judges features of views, and features.views is empty. Remove it."),
    ('LOANS.but(monitors=(DataAge(max_age=timedelta(days=1)),), features=Features(request_table="applications"))', "loans · UseCase · monitors · DataAge judges features of views, and features.views is empty. Remove it."),
    ('contract(columns=(*APPLICATIONS.columns, Column(name="split", dtype="int", description="."))).but(features=Features(request_table="applications"))', "loans · UseCase · features.request · 'split' is a column that the platform adds (event_timestamp, known_at, split). Rename yours.\nloans · UseCase · features.inputs · 'split' is a column that the platform adds (event_timestamp, known_at, split). Rename yours."),
    ("features(request_features=(PredictionMoment(column='applied_at'), PredictionMoment(column='ended_at')))", "loans_v1 · Features · request_features · 'event_timestamp' is declared twice. Keep one."),
    ('words(Log(name="log_sum", column="sum"))', "loans · UseCase · features.request_features[log_sum] · 'sum' is neither a request column nor an earlier request feature; these are: number, customer, amount, purpose, applied_at, event_timestamp. Use one of these or declare it."),
    ('words(Log(name="later", column="twice"), Renamed(name="twice", column="amount"))', "loans · UseCase · features.request_features[later] · 'twice' is neither a request column nor an earlier request feature; these are: number, customer, amount, purpose, applied_at, event_timestamp. Use one of these or declare it."),
    ('words(Difference(name="gap", column="amount", minus="purpose"))', "loans · UseCase · features.request_features[gap] · 'purpose' is of type string; Difference reads: int, float, decimal. Use another column or word."),
    ('words(TextLength(name="letters", column="number"))', "loans · UseCase · features.request_features[letters] · 'number' is of type int; TextLength reads: string, category. Use another column or word."),
    ('words(Bucket(name="size", column="amount", bounds=(1,)), Log(name="log_size", column="size"))', "loans · UseCase · features.request_features[log_size] · 'size' is of type string; Log reads: int, float, decimal. Use another column or word."),
    ('words(Ratio(name="share", column="amount"))', "share · Ratio · field 'by' is missing; required: name, column, by. Add it."),
    ('words(Month(name="month"))', "month · Month · field 'column' is missing; required: name, column. Add it."),
    ('words(Hour(name="hour", column="applied_at", zone="Mars/Base"))', "hour · Hour · zone = 'Mars/Base' · Input should be a time zone, such as UTC or Europe/Berlin. Correct it."),
    ('words(Bucket(name="size", column="amount", bounds=(5, 1)))', "size · Bucket · bounds · (5.0, 1.0) do not ascend; legal: each above the one before. Sort them."),
    ('words(Renamed(name="purpose", column="customer"))', "loans · UseCase · features.request_features[purpose] · a request column has this name, too. Rename the feature."),
    ('words(Renamed(name="split", column="purpose"))', "loans_v1 · Features · request_features · 'split' is a column that the platform adds (event_timestamp, known_at, split). Rename yours, or declare it as PredictionMoment."),
    ('words(Renamed(name="last_paid", column="amount"))', "loans · UseCase · features · 'last_paid' is returned by each of: view last_payment, the request; legal: by one of them. Rename the others."),
    ('words(Renamed(name="defaulted", column="amount"))', "loans · UseCase · features · 'defaulted' is returned by each of: the request, label; legal: by one of them. Rename the others."),
    ('words(Weekday(name="weekday", column="applied_at"), numeric=("amount", "weekday"))', "loans · UseCase · features.numeric · 'weekday' is a String; legal: a number. Convert it, or declare it in categorical."),
    ('view(tables=("payment",))', "loans · UseCase · features.views[last_payment].tables · 'payment' has no contract; contracts: applications, payments. Use one of these or declare it."),
    ('view(entity=("client",))', "loans · UseCase · features.views[last_payment].transform · returns no 'client'; it returns: customer, event_timestamp, last_paid. Add it, or correct the declared name.\nloans · UseCase · features.request_features · returns no 'client'; it returns: number, customer, amount, purpose, applied_at, event_timestamp. Add it, or correct the declared name."),
    ('view(entity=("customer", "customer"))', "last_payment · FeatureView · entity · 'customer' is declared twice. Keep one."),
    ("view(lookback=-DAY)", "last_payment · FeatureView · lookback = datetime.timedelta(days=-1) · Input should be greater than or equal to 0 seconds. Correct it."),
    ('view(name="last__payment")', "last__payment · FeatureView · name = 'last__payment' · String should match pattern '^[a-z](_?[a-z0-9])*_?$'. Correct it."),
    ("view(ttl=-DAY)", "last_payment · FeatureView · ttl = datetime.timedelta(days=-1) · Input should be greater than or equal to 0 seconds. Correct it."),
    ('view(descriptions={"last_payed": "Euros."})', "loans · UseCase · features.views[last_payment].descriptions · 'last_payed' is no feature; it returns: last_paid. Use one of these."),
    ('view(transform=lambda tables, start, end: last_payment(tables, start, end).with_columns(all_paid=pl.col("last_paid").implode()))', "loans · UseCase · features.views[last_payment].transform · 'all_paid' is a List(Float64); legal: a number, text, bool or datetime. Convert it."),
    ('features(views=(VIEW, VIEW.but(name="number_paid", transform=lambda tables, start, end: last_payment(tables, start, end).select("event_timestamp", customer=pl.lit(1), number_paid="last_paid"))))', "loans · UseCase · features.views[number_paid].transform · 'customer' is a Int32, and a String in view 'last_payment'; legal: one type for an entity. Convert one."),
    ('view(transform=lambda tables, start, end: last_payment(tables, start, end).with_columns(customer=pl.lit(1).cast(pl.Decimal(20, 2))))', "loans · UseCase · features.views[last_payment].transform · 'customer' is a Decimal(precision=20, scale=2), of which Feast's double makes one key of several; legal: at most 15 digits. Make it a text."),
    ('view(transform=lambda tables, start, end: tables["applications"])', "loans · UseCase · features.views[last_payment].transform · fails on tables without rows: KeyError: 'applications'. Correct it."),
    ('label(table="outcomes")', "loans · UseCase · label.table · 'outcomes' has no contract; contracts: applications, payments. Use one of these or declare it."),
    ('label(key=("numbers",))', "loans · UseCase · label.key · 'numbers' is neither a request column nor an input; these are: number, customer, amount, purpose, applied_at, last_paid. Use one of these or declare it."),
    ('label(key=("number", "number"))', "defaulted · Label · key · 'number' is declared twice. Keep one."),
    ('label(name="default")', "loans · UseCase · label.transform · returns no 'default'; it returns: number, defaulted, known_at. Add it, or correct the declared name."),
    ('label(name="number")', "number · Label · name · 'number' is in the key or a column that the platform adds (event_timestamp, known_at, split); legal: any other name. Rename it."),
    ('label(transform=lambda rows: rows.select("number", "defaulted"))', "loans · UseCase · label.transform · returns no 'known_at'; it returns: number, defaulted. Add it, or correct the declared name."),
    ('LOANS.but(trainer=SklearnEstimator(estimator="sklearn.linear_model:LogisticRegresion"))', "loans · UseCase · trainer · SklearnEstimator · sklearn.linear_model:LogisticRegresion · sklearn.linear_model has no LogisticRegresion. Correct the path."),
    ('LOANS.but(reference=SklearnEstimator(estimator="sklearn.naive_bayes:GaussianNB", arguments={"C": 1}))', "loans · UseCase · reference · SklearnEstimator · sklearn.naive_bayes:GaussianNB · got an unexpected keyword argument 'C'; it has: priors, var_smoothing. Correct it."),
    ('LOANS.but(trainer=Trainer(kind="mine"))', "loans · UseCase · trainer · Trainer · mlops_assets.spec.training has no function train. Add it (docs/trainers.md)."),
    ('LOANS.but(example="no_such_module:rows")', "loans · UseCase · example · no_such_module cannot be imported: No module named 'no_such_module'. Correct the name, or leave it out."),
    ('LOANS.but(example="tests.cli.loans:no_rows")', "loans · UseCase · example · tests.cli.loans has no function 'no_rows'. Add it, or correct the name."),
    ("LOANS.but(gates=(Gate(),))", "loans · UseCase · gates[0] · Gate · mlops_assets.spec.gate has no function judge. Add it (docs/gates.md)."),
    ('label(name="probability", transform=lambda rows: rows.select("number", probability="defaulted", known_at="ended_at"))', "loans · features · probability is a column of the prediction log. Rename it."),
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    return tmp_path


def run_check(
    project: Path, monkeypatch: pytest.MonkeyPatch, *declared: str, arguments: tuple[str, ...] = ()
) -> tuple[int, list[str]]:
    """The exit code and the lines of `mlops check` over modules that declare these use cases."""
    modules = [f"{project.name}_{number}".replace("-", "_") for number in range(len(declared))]
    for module, text in zip(modules, declared, strict=True):
        (project / f"{module}.py").write_text(f"{IMPORTS}\nUSE_CASE = {text}\n")
    loaded, problems = load_use_cases(modules)
    monkeypatch.setattr(mlops_assets.cli.check, "USE_CASES", loaded)
    monkeypatch.setattr(mlops_assets.cli.check, "NOT_LOADED", problems)
    result = CliRunner().invoke(app, ["check", *arguments])
    lines = result.output
    for module in modules:
        lines = lines.replace(f"{module} · ", "")
    return result.exit_code, lines.splitlines()


def test_a_legal_declaration_passes_and_the_home_stays_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = run_check(project, monkeypatch, "LOANS")
    assert (code, lines[0]) == (0, "loans is legal. Defaults of what it leaves out:")
    gates = "BeatsChampion(metric='auc', confidence=0.95), NoLeak(max_single_auc=0.85, max_split_gap=0.05)"
    assert f"  gates: {gates}" in lines and "  triggers: none" in lines and not [line for line in lines if "trainer" in line]
    assert "  freshness: Freshness(raw=1 day 12 h, features=1 day 12 h, predictions=2 days, service=14 days)" in lines
    assert not (project / "home").exists()


def test_every_default_of_the_minimal_declaration_is_listed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = run_check(project, monkeypatch, "TUMOR", "LOANS.but(features=Features(request_table='applications'))")
    assert code == 0
    assert {
        "  split: RandomSplit(test=0.2, validation=0.2, seed=0, stratify=True)",
        "  label.table: 'samples'",
        "  label.key: 'sample'",
    } < {*lines}
    (features,) = (line for line in lines if line.startswith("  features: "))
    assert "service='tumor_v1'" in features and "numeric='radius', 'cells', 'stained', categorical='laboratory'" in features
    assert any(line.startswith("  trainer: HistGradientBoosting(kind='hist_gradient_boosting', max_iter=100") for line in lines)
    assert "  features.service: 'loans_v1'" in lines


@pytest.mark.parametrize(("declared", "message"), ILLEGAL, ids=[declared for declared, _ in ILLEGAL])
def test_an_illegal_declaration_is_named_with_its_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch, declared: str, message: str
) -> None:
    assert run_check(project, monkeypatch, declared) == (1, message.splitlines())


def test_at_least_forty_kinds_of_illegal_declarations_are_tested() -> None:
    assert len({declared for declared, _ in ILLEGAL}) == len({message for _, message in ILLEGAL}) >= 40


def test_every_problem_of_every_use_case_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice_wrong = "LOANS.but(slices=('city',), triggers=(OnDrift(),))"
    code, lines = run_check(project, monkeypatch, twice_wrong, "LOAN", "LOANS", "LOANS", "LOANS.but(name='other')")
    assert code == 1
    assert [line.partition(";")[0] for line in lines] == [
        "loans · UseCase · triggers[0] · OnDrift reads the result of the monitor Drift",
        "loans · UseCase · slices · 'city' is not an input of the model",
        "does not load: NameError: name 'LOAN' is not defined. Correct it.",
        "its use case 'loans' is declared by another module, too. Rename one.",
        "its feature service 'loans_v1' is that of 'loans', too. Rename one.",
    ]


def test_the_shipped_declarations_are_legal() -> None:
    result = CliRunner().invoke(app, ["check"])
    lines = result.stdout.splitlines()
    legal = [line for line in lines if line.endswith("is legal. Defaults of what it leaves out:")]
    assert (result.exit_code, [line.split()[0] for line in legal]) == (0, [use_case.name for use_case in USE_CASES])


def test_the_data_of_a_named_use_case_is_looked_at_and_its_findings_are_warnings(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(orders().with_columns(city="returned", visits="number"), project / "all orders.csv")
    code, lines = run_check(project, monkeypatch, "TUMOR", "ORDERS", arguments=("orders", "--file", str(file)))
    assert (code, lines[0]) == (0, "orders is legal. Defaults of what it leaves out:")
    counts = "2,000 requests with a label (1,280 train, 200 validation, 400 test), of which 32.2% have returned"
    assert lines[-5:] == [
        f"Data: {counts}: orders from all orders.csv.",
        "Identifiers, which are no inputs, as it should be: number.",
        "  leak · `city` alone predicts the label with AUC 1.000 (bound 0.85). Is it known at prediction time? If not, remove it from the inputs; if so, raise NoLeak.max_single_auc.",
        "  identifier · `visits` has 2,000 distinct values in 2,000 rows, and is an input. It names rows or subjects, and a new one has another value: remove it from the inputs.",
        "2 warnings.",
    ]
    assert not (project / "home").exists()


def test_an_object_that_is_no_use_case_is_named_and_takes_down_no_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legal = "legal: a UseCase(...). Declare it, or move the folder out of the use cases."
    declared = ("LOANS", "5", "LOANS.__class__", "__import__('sys').exit(3)", "1\ndel USE_CASE")
    assert run_check(project, monkeypatch, *declared) == (
        1,
        [
            f"USE_CASE is of type int; {legal}",
            f"USE_CASE is of type ModelMetaclass; {legal}",
            "does not load: SystemExit: 3. Correct it.",
            f"USE_CASE is missing; {legal}",
        ],
    )
    assert [use_case.name for use_case in mlops_assets.cli.check.USE_CASES] == ["loans"]


def test_without_data_a_named_use_case_is_checked_as_declared(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = run_check(project, monkeypatch, "ORDERS", arguments=("orders",))
    missing = f"neither its validated table nor its landing folder in {project / 'home'} has one"
    assert (code, lines[-1]) == (
        0,
        f"No data was looked at: orders · no row of orders: {missing}. Pass a file with --file, or land files first.",
    )
    problem = run_check(project, monkeypatch, "ORDERS", "LOANS.but(gates=())", arguments=(f"{project.name}_1".replace("-", "_"),))
    assert problem == (
        1,
        ["loans · UseCase · gates = () · Tuple should have at least 1 item after validation, not 0. Correct it."],
    )


def test_a_file_that_cannot_be_read_has_its_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(orders().drop("city"), project / "orders.csv")
    code, lines = run_check(project, monkeypatch, "ORDERS", arguments=("orders", "--file", f"orders={file}"))
    assert code == 1 and "orders.csv · as orders: 'city' is missing; found the columns" in lines[-1]
    code, lines = run_check(project, monkeypatch, "ORDERS", arguments=("orders", "--file", f"sales={file}"))
    assert code == 2 and "found table 'sales'; declared: orders. Use one of these." in " ".join(
        line.strip("│ ") for line in lines
    )
