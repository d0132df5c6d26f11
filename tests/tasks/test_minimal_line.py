"""The minimal declaration, from landed files to served answers and their outcomes: no views, no times, nothing of Feast."""

import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import polars as pl
import pytest

from mlops_assets.features.enough_data import describe_missing
from mlops_assets.foundation import names
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from tests.graph.line import Line, environment_of, failed_checks, failure, variables
from tests.integration.running_service import Server, started
from tests.tasks.tumors import DAYS, ROWS, USE_CASE, samples

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]


def must(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    assert result.success, (failure(result), failed_checks(result))
    return result


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def champion_of(line: Line) -> int:
    home, name = line.environment.home, line.use_case.name
    promotions = Promotions(
        line.use_case, Ledger(line.environment.ledger_url), Deployment(home.deployments, name), SigningKeys(home.keys)
    )
    plan = promotions.state().plan
    assert plan
    return plan.champion


def test_a_table_without_times_is_trained_on_judged_served_and_joined_with_its_outcomes(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        line = Line(environment_of(tmp_path, {}), USE_CASE, instance)
        assert (
            describe_missing(USE_CASE, line.tables, now=datetime.now(UTC)) == "No row has been accepted yet: validated_samples."
        )
        for day in range(DAYS):
            line.landing.put("tumor", "samples", day=line.day(day), rows=samples(day))
        must(line.ingest("samples", 0, DAYS - 1))
        assert describe_missing(USE_CASE, line.tables, now=datetime.now(UTC)) == ""
        training = line.definitions.resolve_job_def(names.job("tumor", "training"))
        trained = must(training.execute_in_process(instance=instance, raise_on_error=False))
        gates = {check.check_name: check.description or "" for check in trained.get_asset_check_evaluations()}
        assert "the declared split is at random, so that none is easier" in gates["no_leak"]
        rows = line.rows(names.stage("tumor", "training_set"))
        made = instance.get_latest_materialization_event(dg.AssetKey(names.stage("tumor", "training_set")))
        assert made and made.asset_materialization
        counts = ", ".join(f"{rows.filter(split=part).height} {part}" for part in ("train", "validation", "test"))
        assert counts in str(made.asset_materialization.metadata["summary"].value)
        shares = rows.group_by("diagnosis", "split").len().with_columns(share=pl.col("len") / pl.sum("len").over("diagnosis"))
        for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            assert shares.filter(split=split)["share"].to_list() == pytest.approx([share] * 2, abs=0.01)
        version = champion_of(line)

        server = Server(line.environment.home, "tests.tasks.tumors:Tumors")
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            sent = samples(DAYS - 1)
            answers = predict(rows=sent.select(USE_CASE.features.request).to_dicts())["predictions"]
            explained = predict(rows=sent.select(USE_CASE.features.request).head(3).to_dicts(), explain=True)["predictions"]
        assert {(answer["model_version"], answer["features_from"]) for answer in answers} == {(version, "request")}
        right = [answer["decision"] == (label == "M") for answer, label in zip(answers, sent["diagnosis"], strict=True)]
        assert sum(right) > 0.85 * ROWS
        for answer, explanation in ((one, one["explanation"]) for one in explained):
            odds = log_odds(explanation["baseline_probability"]) + sum(explanation["contributions"].values())
            assert odds == pytest.approx(log_odds(answer["probability"]), rel=1e-3)

        stages = ("predictions", "outcomes", *USE_CASE.monitor_stages)
        result = must(line.run(*(names.stage("tumor", stage) for stage in stages)))
        assert failed_checks(result) == {}
        outcomes = line.rows(names.stage("tumor", "outcomes"))
        assert dict(outcomes.select("sample", "diagnosis").iter_rows()) == dict(sent.select("sample", "diagnosis").iter_rows())
        assert not line.environment.home.feast.exists()
        assert "patient" not in outcomes.columns and "patient" not in rows.columns


def test_a_service_without_views_loads_nothing_of_feast(tmp_path: Path) -> None:
    code = (
        "import os, sys; from mlops_assets.serving.service import open_service; from tests.spec.samples import TUMOR; "
        "open_service(os.environ, TUMOR); "
        "print([name for name in sys.modules if name == 'feast' or name.startswith('feast.')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ".", **variables(home)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
