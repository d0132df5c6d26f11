"""Stories of two live lines in one home, for test_story.py, and a brute-force recomputation of what they must hold.

Real files, Delta tables, Feast, MLflow, ledger and keys; Dagster runs in this process, and so do the two services.
"""

import datetime as dt
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.resources import build_resources
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import Service, open_service
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.rollout import AtOnce
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS, REPO, VIEW

DAYS = [LOANS.first_day + dt.timedelta(days=number) for number in range(5)]
CUSTOMERS = [f"c{number}" for number in range(4)]
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
NO_SERVER = "http://127.0.0.1:9"
BOUND = 0.2  # of bad rows in a day
BAD = -1.0  # an amount, or a payment, below the least that is legal

Row = dict[str, Any]
Delivered = dict[tuple[str, dt.date], list[Row]]

_PAYMENTS = PAYMENTS.but(
    columns=tuple(one.but(min=0) if one.name == "paid" else one for one in PAYMENTS.columns), max_bad_share=BOUND
)
LOANS_LINE = LOANS.but(
    last_day=DAYS[-1], contracts=(APPLICATIONS.but(expectations=(), max_bad_share=BOUND), _PAYMENTS),
    gates=(Floor(metric="auc", bound=0.0),), rollout=AtOnce(), monitors=(), triggers=(),
)  # fmt: skip
LEASES_LINE = LOANS_LINE.but(
    name="leases", features=LOANS_LINE.features.but(service="leases_v1", views=(VIEW.but(name="last_rate"),))
)
REPOS = {
    "loans": REPO,
    "leases": REPO.replace("loans", "leases")
    .replace('name="last_payment', 'name="last_rate')
    .replace("/last_payment", "/last_rate"),
}


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def application_rows(day: dt.date, seed: int) -> list[Row]:
    """Up to twelve of the day's fourteen applications; one may be an earlier day's with another end and label."""
    chance, start = random.Random(f"{day}{seed}"), midnight(day)
    numbers = chance.sample(range(14), 12)
    keys = [100 * (DAYS.index(day) + 1) + number for number in numbers]
    if day != DAYS[0] and chance.random() < 0.5:
        keys[0] = 100 * DAYS.index(day) + chance.randrange(14)
    return [
        {
            "number": key, "customer": chance.choice(CUSTOMERS), "amount": float(chance.randrange(1, 900)),
            "purpose": chance.choice(("car", "home")), "insured": chance.random() < 0.5,
            "applied_at": start - chance.randrange(1, 40) * HOUR, "ended_at": start + chance.randrange(0, 24) * HOUR,
            "defaulted": index % 2,
        }
        for index, key in enumerate(keys)
    ]  # fmt: skip


def payment_rows(day: dt.date, seed: int) -> list[Row]:
    chance = random.Random(f"{seed}{day}")
    moments = [(customer, hour) for customer in CUSTOMERS for hour in chance.sample(range(24), 3)]
    paid = [round(chance.uniform(1, 50), 2) for _ in moments]
    rows = [{"customer": customer, "paid_at": midnight(day) + hour * HOUR} for customer, hour in moments]
    return [row | {"paid": value} for row, value in zip(rows[:10], paid, strict=False)]


ROWS = {"applications": (application_rows, "amount"), "payments": (payment_rows, "paid")}


def known_at(versions: list[Row], moment: dt.datetime) -> Row:
    """The newest version of the days before `moment`, else the first one."""
    before = [row for row in versions if midnight(row["day"]) < moment]
    return max(before, key=lambda row: row["day"]) if before else min(versions, key=lambda row: row["day"])


def is_bad(row: Row) -> bool:
    return BAD in (row.get("amount"), row.get("paid"))


@dataclass
class Line:
    """One use case: what was delivered last for each day, and its line in the home."""

    use_case: UseCase
    environment: Environment
    instance: dg.DagsterInstance
    delivered: Delivered = field(default_factory=dict)
    in_use: Delivered = field(default_factory=dict)  # of each day the newest delivery whose bad share is within the bound
    trained: list[Row] | None = None

    def __post_init__(self) -> None:
        home, name = self.environment.home, self.use_case.name
        shared = {**build_resources(self.environment), **build_io_managers(str(home.tables), str(home.root / "values"))}
        definitions = dg.Definitions(resources=shared, executor=dg.in_process_executor)
        self.job = dg.Definitions.merge(definitions, build_use_case(self.use_case)).resolve_implicit_global_asset_job_def()
        self.tables, self.landing = DeltaTables(home.tables), Landing(home.landing)
        self.deployment, self.keys = Deployment(home.deployments, name), SigningKeys(home.keys)
        self.ledger = Ledger(self.environment.ledger_url)
        self.promotions = Promotions(self.use_case, self.ledger, self.deployment, self.keys)
        self.placed = PlacedVersions(name, self.ledger, self.deployment, self.keys)
        self.view = self.use_case.features.views[0].name
        self.store = FeatureStore(home, service=self.use_case.features.service)
        self.service: Service | None = None

    # --- events -----------------------------------------------------------------------------------------------------------

    def run(self, *paths: names.AssetPath, day: dt.date | None = None) -> bool:
        tags = {f"dagster/asset_partition_range_{end}": day.isoformat() for end in ("start", "end")} if day else {}
        keys = [dg.AssetKey(path) for path in paths]
        return self.job.execute_in_process(asset_selection=keys, instance=self.instance, tags=tags, raise_on_error=False).success

    def deliver(self, table: str, day: dt.date, rows: list[Row]) -> None:
        """Lands the rows as the day's file and brings them as far as the online store."""
        name = self.use_case.name
        schema = pl.DataFrame(ROWS[table][0](day, 0)).schema
        self.landing.put(name, table, day=day, rows=pl.DataFrame(rows, schema=schema))
        self.delivered[table, day] = rows
        if sum(map(is_bad, rows)) <= BOUND * len(rows):
            self.in_use[table, day] = rows
        assert self.run(*(stage(name, table) for stage in (names.raw, names.validated, names.quarantine)), day=day)
        if table == "payments":
            assert self.run(names.feature(name, self.view), names.online(name, self.view), day=day)

    def train(self) -> None:
        """From the training set to a version that serves."""
        stages = ("training_set", "candidate", "evaluation", "blessing", "rollout")
        if not self.run(*(names.stage(self.use_case.name, stage) for stage in stages)):
            raise AssertionError(f"{self.use_case.name} · a training failed although every part has rows of both classes")
        self.trained = self.training_rows()

    def rotate_keys(self) -> None:
        before = self.keys.current()
        self.keys.rotate()
        if before is None:
            return
        for version in self.placed.signed_with(before):
            self.placed.reissue(version, by="ada", at=dt.datetime.now(dt.UTC))
        assert not self.placed.needing(before)

    def roll_back(self) -> None:
        self.promotions.roll_back(reason="a story", by="ada", at=dt.datetime.now(dt.UTC))

    # --- what must be there -------------------------------------------------------------------------------------------------

    def accepted(self, table: str) -> list[Row]:
        """The good rows of each day's newest delivery within the bound, with their day."""
        days = {day: rows for (of, day), rows in self.in_use.items() if of == table}
        return [row | {"day": day} for day, rows in sorted(days.items()) for row in rows if not is_bad(row)]

    def refused(self, table: str) -> int:
        """The rows delivered last that are not in use: bad ones, or all of a day that is beyond the bound."""
        return sum(
            sum(map(is_bad, rows)) if self.in_use.get((of, day)) is rows else len(rows)
            for (of, day), rows in self.delivered.items()
            if of == table
        )

    def last_paid(self, customer: str, at: dt.datetime) -> float | None:
        known = [row for row in self.accepted("payments") if row["customer"] == customer and row["paid_at"] <= at]
        return max(known, key=lambda row: row["paid_at"])["paid"] if known else None

    def training_rows(self) -> list[Row]:
        """The requests of each part of the declared split, as known when they were made, with the labels known when it ended."""
        versions = self.accepted("applications")
        if not versions:
            return []
        end = midnight(max(row["day"] for row in versions)) + DAY
        rows: list[Row] = []
        for part, start, stop, known_before in (
            ("test", end - DAY, end, None),
            ("validation", end - 2 * DAY, end - DAY, end - DAY),
            ("train", None, end - 2 * DAY, end - 2 * DAY),
        ):
            for number in {row["number"] for row in versions}:
                of_one = [row for row in versions if row["number"] == number]
                # Every version is of a day after its request, so that the first one is the request as it was made.
                request = min(of_one, key=lambda row: row["day"])
                truth = known_at(of_one, known_before or end)
                at = request["applied_at"]
                if (start is None or at >= start) and at < stop and (known_before is None or truth["ended_at"] < known_before):
                    inputs = {name: request[name] for name in ("number", "amount", "purpose")}
                    paid = self.last_paid(request["customer"], at)
                    rows.append(inputs | {"defaulted": truth["defaulted"], "last_paid": paid, "split": part})
        return sorted(rows, key=lambda row: row["number"])

    def can_train(self) -> bool:
        labels = {(row["split"], row["defaulted"]) for row in self.training_rows()}
        return labels >= {(part, label) for part in ("train", "validation", "test") for label in (0, 1)}

    # --- what is there --------------------------------------------------------------------------------------------------------

    def rows(self, path: names.AssetPath, *columns: str) -> list[Row]:
        return self.tables.scan(path).select(*columns).collect().to_dicts() if self.tables.exists(path) else []

    def online(self, customers: list[str], at: dt.datetime) -> list[float | None]:
        rows = pl.DataFrame({"customer": customers}).with_columns(event_timestamp=pl.lit(at).cast(pl.Datetime("us", "UTC")))
        values = self.store.look_up(rows).features["last_paid"]
        return [value if value and value > 0 else None for value in values]  # NaN is not known

    def ask(self) -> dict[str, Any]:
        if self.service is None:
            variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(self.environment.home.root), "MLOPS_SERVICE_URL": NO_SERVER}
            self.service = open_service(variables, self.use_case)
            self.service.start()
        self.service.answering.slots.poll()
        client = TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: self.service))  # type: ignore[arg-type,return-value]
        moment = (midnight(DAYS[-1]) + 23 * HOUR).isoformat()
        row = {"number": 1, "customer": CUSTOMERS[0], "amount": 10.0, "purpose": "car", "applied_at": moment}
        reply = client.post("/predict", json={"rows": [row]})
        assert reply.status_code == 200, reply.text
        return reply.json()["predictions"][0]


def open_lines(folder: Path, instance: dg.DagsterInstance) -> list[Line]:
    """Two lines in one home, and one project whose feature_repo declares both."""
    (folder / "feature_repo").mkdir()
    for name, text in REPOS.items():
        (folder / "feature_repo" / f"{name}_objects.py").write_text(text)
    environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(folder / "home")}, folder)
    return [Line(use_case, environment, instance) for use_case in (LOANS_LINE, LEASES_LINE)]
