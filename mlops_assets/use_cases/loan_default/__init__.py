"""Will this car loan default? Asked when the customer applies; the answer is known 60 days later."""

from datetime import date, timedelta

from mlops_assets import (
    BeatsChampion,
    Binary,
    Budget,
    Calibrated,
    Canary,
    Column,
    Contract,
    Drift,
    Fair,
    Features,
    Files,
    Floor,
    Label,
    NoLeak,
    NoPii,
    OnDrift,
    OnPerformance,
    Performance,
    PredictionMoment,
    RowCountBand,
    TimeSplit,
    UseCase,
    Weekly,
)  # fmt: skip
from mlops_assets.use_cases.loan_default import transforms

KNOWN_AFTER = timedelta(days=60)
LOAN = Column(name="loan", dtype="int", min=0, description="Number of the application.")

APPLICATIONS = Contract(
    table="applications", description="One row per application for a car loan.",
    columns=(
        LOAN,
        Column(name="applied_at", dtype="datetime", description="When the customer applied."),
        Column(name="car_value", dtype="float", min=0, max=1_000_000, example=27_000.0, description="Price of the car, euros."),
        Column(name="salary_range", dtype="category", allowed=("0 - 20K €", "20K - 40K €", "40K - 60K €", "60K+ €"),
               description="Yearly salary of the customer."),
        Column(name="debt_to_income_ratio", dtype="float", min=0, max=10, example=0.6, description="Debts to yearly income."),
        Column(name="loan_length", dtype="float", min=1, max=120, example=18.0, description="Length of the loan, months."),
        Column(name="repaid_loan_on_prev_car", dtype="bool", description="Whether a loan for an earlier car was repaid."),
        Column(name="size_of_downpayment", dtype="category", allowed=("0%", "10%", "20%", "30%", "40%"),
               description="Down payment, as a share of the price."),
        Column(name="driver_tenure", dtype="float", min=0, max=80, example=4.5, description="Years with a driving licence."),
    ),
    unique=("loan",), day="applied_at", expectations=(RowCountBand(),),
)  # fmt: skip
OUTCOMES = Contract(
    table="loan_outcomes", description="Whether a loan is repaid as agreed, 60 days after the application.",
    columns=(
        LOAN,
        Column(name="settled_at", dtype="datetime", description="When this was known."),
        Column(name="repaid", dtype="bool", description="Whether the instalments so far were paid."),
    ),
    unique=("loan",), day="settled_at",
)  # fmt: skip

USE_CASE = UseCase(
    name="loan_default", owner="team:credit-risk", question="Will this car loan default?", risk="high",
    first_day=date(2018, 1, 1), last_day=date(2019, 8, 25),
    sources=(Files(table="applications", grain=Weekly()), Files(table="loan_outcomes", grain=Weekly(), only_when_changed=True)),
    contracts=(APPLICATIONS, OUTCOMES),
    features=Features(
        request_table="applications",
        request_features=(PredictionMoment(column="applied_at"),),
    ),
    task=Binary(label=Label(name="defaulted", table="loan_outcomes", key=("loan",), transform=transforms.defaulted, by_row=True)),
    split=TimeSplit(test=timedelta(days=28), validation=timedelta(days=28), label_delay=KNOWN_AFTER),
    gates=(
        Floor(metric="auc", bound=0.9), BeatsChampion(), Calibrated(max_ece=0.05),
        # Among those who repay, and among those who do not, customers of each salary are refused about as often.
        Fair(column="salary_range", metric="equalized_odds", max_gap=0.2),
        NoLeak(max_single_auc=0.9), Budget(max_train_seconds=300, max_megabytes=5), NoPii(),
    ),
    # A week has 1,155 applications: without a change, no input has a PSI above 0.02 by chance.
    monitors=(Drift(window=timedelta(days=7), max_psi=0.1, max_ks=0.15), Performance(window=timedelta(days=28))),
    triggers=(OnDrift(min_importance=0.2), OnPerformance(metric="auc", bound=0.9)),
    rollout=Canary(),
    example="mlops_assets.use_cases.loan_default.sample:example",
)  # fmt: skip
