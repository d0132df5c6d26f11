"""How many bikes will be rented in this hour? Asked one hour before it begins, in Washington D.C."""

from datetime import date, timedelta

from mlops_assets import (
    BeatsChampion,
    Budget,
    Column,
    Contract,
    Drift,
    Features,
    FeatureView,
    Files,
    Floor,
    HistGradientBoosting,
    Hour,
    Hourly,
    Label,
    Month,
    NoPii,
    OnSchedule,
    Performance,
    PredictionMoment,
    Regression,
    Skew,
    TimeSplit,
    UseCase,
    Weekday,
)  # fmt: skip
from mlops_assets.use_cases.bike_demand import transforms

ZONE = "America/New_York"
STARTS_AT = Column(name="starts_at", dtype="datetime", example="2011-07-01T14:00:00Z", description="When the hour begins.")

CONDITIONS = Contract(
    table="conditions", description="The calendar and the weather forecast of each hour.",
    columns=(
        STARTS_AT,
        Column(name="is_holiday", dtype="bool", description="Whether it is a public holiday."),
        Column(name="is_working_day", dtype="bool", description="Whether it is neither at the weekend nor a holiday."),
        Column(name="weather", dtype="string", allowed=("clear", "cloudy/misty", "light rain/snow", "heavy rain/snow"),
               example="clear", description="Kind of weather."),
        Column(name="temperature", dtype="float", min=-30, max=50, example=21.5, description="Air temperature, degrees Celsius."),
        Column(name="felt_temperature", dtype="float", min=-40, max=60, description="Apparent temperature, degrees Celsius."),
        Column(name="humidity", dtype="float", min=0, max=100, description="Relative humidity, percent."),
        Column(name="wind_speed", dtype="float", min=0, max=150, description="Wind speed, kilometres per hour."),
    ),
    unique=("starts_at",), day="starts_at",
)  # fmt: skip
RENTALS = Contract(
    table="rentals", description="Bikes rented in each hour, known when it ends.",
    columns=(
        STARTS_AT,
        Column(name="casual", dtype="int", min=0, max=5000, description="Rentals by people without a subscription."),
        Column(name="registered", dtype="int", min=0, max=5000, description="Rentals by subscribers."),
        Column(name="bikes", dtype="int", min=0, max=10_000, description="All rentals."),
    ),
    unique=("starts_at",), day="starts_at",
)  # fmt: skip

USE_CASE = UseCase(
    name="bike_demand", owner="team:bike-operations", question="How many bikes will be rented in this hour?", risk="low",
    first_day=date(2011, 1, 1), last_day=date(2011, 12, 31),
    # Of 115 hours of the year nothing is known, mostly in winter nights.
    sources=tuple(Files(table=table, grain=Hourly(tz=ZONE), only_when_changed=True) for table in ("conditions", "rentals")),
    contracts=(CONDITIONS, RENTALS),
    features=Features(
        views=(
            FeatureView(
                name="recent_demand", description="Rentals of earlier hours, known when each has ended.", tables=("rentals",),
                transform=transforms.recent_demand, lookback=timedelta(hours=168), ttl=timedelta(hours=6),
                descriptions={
                    "demand_before_1h": "Rentals in the newest hour that has ended.",
                    "demand_before_2h": "Rentals in the hour before that one.",
                    "demand_same_hour_yesterday": "Rentals 24 hours before the predicted hour.",
                    "demand_same_hour_last_week": "Rentals a week before the predicted hour.",
                },
            ),
        ),
        request_table="conditions",
        request=(
            "starts_at", "is_holiday", "is_working_day", "weather", "temperature", "felt_temperature", "humidity", "wind_speed",
        ),
        request_features=(
            PredictionMoment(column="starts_at", before=timedelta(hours=1)),
            Hour(name="hour", column="starts_at", zone=ZONE),
            Weekday(name="weekday", column="starts_at", zone=ZONE),
            Month(name="month", column="starts_at", zone=ZONE),
        ),
        numeric=(
            "is_holiday", "is_working_day", "temperature", "felt_temperature", "humidity", "wind_speed", "hour", "month",
            *transforms.LAGS_H,
        ),
        categorical=("weather", "weekday"),
    ),
    task=Regression(
        label=Label(name="bikes", table="rentals", key=("starts_at",), transform=transforms.rented_bikes, by_row=True),
        unit="bikes",
    ),
    split=TimeSplit(test=timedelta(days=28), validation=timedelta(days=14), label_delay=timedelta(hours=2)),
    trainer=HistGradientBoosting(max_iter=300, min_samples_leaf=20),
    gates=(Floor(metric="r2", bound=0.7), BeatsChampion(metric="rmse"), Budget(max_train_seconds=300, max_megabytes=5), NoPii()),
    # With one request for each hour, a window of 30 days has 720 answers.
    monitors=(Drift(min_rows=500), Performance(min_rows=500), Skew()),
    triggers=(OnSchedule(cron="0 6 * * 1"),),
    example="mlops_assets.use_cases.bike_demand.sample:example",
)  # fmt: skip
