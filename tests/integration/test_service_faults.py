"""Faults around a running service: its worker, its Redis, its disk. Clients send requests before, during and after."""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation.home import Home
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.feast.test_feature_store import KEYS, features_of, fill
from tests.integration.running_service import AT, PROJECT, Server, started, wait_until
from tests.integration.traffic import AGREED, CLIENTS, Difference, given, log_of, looked_up, traffic
from tests.servers.redis_server import RedisServer
from tests.serving.flights import FLIGHT, place_blessed

pytestmark = pytest.mark.integration

KNOWN_AT = datetime(2013, 7, 1, 10, tzinfo=UTC)
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass
class Setting:
    """The real service with features in a real Redis: as declared (`strict`: no answer without a log or without features),
    and under another declaration (`lenient`: last known features, answers without a log, scores cached in memory).
    """

    home: Home
    redis: RedisServer
    strict: Server
    lenient: Server


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    home, redis = Home(tmp_path_factory.mktemp("home")), RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    store = FeatureStore(home, service=USE_CASE.features.service, redis_url=redis.url)
    store.apply(PROJECT / "feature_repo")
    for view, names in features_of(store).items():
        fill(home.root, view, [{key: FLIGHT[key] for key in KEYS[view]} | {"at": KNOWN_AT, "value": 80.0}], names)
        store.materialize(view, KNOWN_AT)
    variables = {"MLOPS_ONLINE_STORE": redis.url}
    strict, lenient = Server(home, variables=variables), Server(home, "tests.integration.varied_services:Lenient", variables)
    with started(strict, lenient):
        yield Setting(home, redis, strict, lenient)
    redis.kill()


def fill_disk(server: Server, bytes_a_file: int = 0) -> None:
    """No file of the worker may grow beyond so many bytes, which os.write reports much like a full disk."""
    server.worker().rlimit(resource.RLIMIT_FSIZE, (bytes_a_file, resource.RLIM_INFINITY))


def empty_disk(server: Server) -> None:
    server.worker().rlimit(resource.RLIMIT_FSIZE, NO_LIMIT)


def segments(home: Home) -> int:
    return len(log_of(home).segments())


def test_a_killed_worker_loses_no_answer_and_another_takes_over_by_itself(setting: Setting):
    server = setting.strict
    with traffic(server) as flow:
        time.sleep(0.4)
        killed = server.worker()
        killed.kill()
        wait_until(lambda: server.answers("/readyz"), 30, server.last_words)
        before = flow.answers
        wait_until(lambda: flow.answers > before + 20, 10, server.last_words)
    assert flow.is_accounted_for() and flow.refused.total() == 0 and flow.cut <= 2 * CLIENTS
    difference = flow.difference()
    assert difference == Difference(0, difference.logged_not_answered, 0, 0)
    assert difference.logged_not_answered <= flow.rows_cut  # logged just before the answer was lost
    assert server.worker().pid != killed.pid and segments(setting.home) == 2


def test_without_redis_a_strict_service_refuses_lookups_and_answers_the_rest(setting: Setting):
    server, redis = setting.strict, setting.redis
    with traffic(server) as flow:
        time.sleep(0.3)
        redis.kill()
        wait_until(lambda: flow.refused[503] > 5, 10, server.last_words)
        refused, answered = server.predict(looked_up(0)), server.predict(given(0))
        redis.start()
        refused_before, answers_before = flow.refused[503], flow.answers
        wait_until(lambda: flow.answers > answers_before + 50, 3, server.last_words)
    assert (refused.status, answered.status) == (503, 200) and int(refused.headers["retry-after"])
    assert "does not answer" in refused.content["error"]["found"]
    assert set(flow.refused) == {503} and flow.is_accounted_for() and flow.cut == 0
    assert flow.refused[503] <= refused_before + CLIENTS  # requests that were in flight when Redis came back
    assert flow.difference() == AGREED._replace(logged_not_answered=1)  # the one given here
    assert server.counted("mlops_requests_total", status="503") == flow.refused[503] + 1


def test_a_hanging_redis_delays_lookups_for_one_time_out_and_no_other_request(setting: Setting):
    server, clients = setting.strict, 30
    hanging = setting.redis.process
    with traffic(server, asks=(given,)) as others, traffic(server, clients=clients, asks=(looked_up,)) as flow:
        time.sleep(0.3)
        hanging.suspend()
        wait_until(lambda: flow.refused[503] >= clients, 10, server.last_words)
        hanging.resume()
        answers = flow.answers
        wait_until(lambda: flow.answers > answers + 50, 5, server.last_words)
    assert set(flow.refused) == {503} and flow.is_accounted_for()
    assert flow.longest_s < 4  # 0.25 s for the batch before and as much for its own
    assert not others.refused and others.sent == others.answers and others.longest_s < 1.5
    assert sorted(others.logged["prediction_id"]) == sorted(flow.answered.keys() | others.answered.keys())


def test_without_redis_a_lenient_service_uses_the_last_known_features(setting: Setting):
    server, redis = setting.lenient, setting.redis
    with traffic(server) as flow:
        time.sleep(0.3)
        redis.kill()
        time.sleep(0.7)
        redis.start()
        time.sleep(0.5)
    assert flow.sent == flow.answers and flow.difference() == AGREED
    sources = flow.logged.sort("answered_at")["features_from"]
    assert set(sources) == {"online", "last_known", "request"}
    assert "last_known" not in set(sources.tail(20)) and server.counted("mlops_cache_reads_total", result="hit") > 0
    last_known = server.counted("mlops_predictions_total", features_from="last_known")
    assert last_known == sources.str.count_matches("last_known").sum()


def test_on_a_full_disk_a_strict_service_refuses_every_request_until_there_is_room(setting: Setting):
    server = setting.strict
    failures, before = server.counted("mlops_log_failures_total"), segments(setting.home)
    counted = server.counted("mlops_predictions_total")
    with traffic(server) as flow:
        time.sleep(0.3)
        fill_disk(server)
        wait_until(lambda: flow.refused[503] > 50, 10, server.last_words)
        answers = flow.answers
        refused = server.predict(given(0))
        assert refused.status == 503 and int(refused.headers["retry-after"])
        assert "the prediction log cannot be written" in refused.content["error"]["found"]
        assert flow.answers == answers
        assert 0 < server.counted("mlops_log_failures_total") - failures <= server.counted("mlops_requests_total", status="503")
        empty_disk(server)
        wait_until(lambda: flow.answers > answers + 50, 10, server.last_words)
    assert set(flow.refused) == {503} and flow.is_accounted_for() and flow.cut == 0
    assert flow.difference() == AGREED
    assert server.counted("mlops_predictions_total") - counted == len(flow.answered)
    assert segments(setting.home) <= before + 2  # one that is full is not followed by an empty one for each request


def test_on_a_disk_that_fills_within_a_line_no_half_of_an_answer_stays(setting: Setting):
    server = setting.strict
    with traffic(server) as flow:
        fill_disk(server, bytes_a_file=20_000)
        wait_until(lambda: flow.refused[503] > 5, 10, server.last_words)
        empty_disk(server)
        time.sleep(0.2)
    assert set(flow.refused) == {503} and flow.is_accounted_for() and flow.difference() == AGREED


def test_on_a_full_disk_a_lenient_service_goes_on_and_counts_what_it_did_not_log(setting: Setting):
    server = setting.lenient
    with traffic(server) as flow:
        time.sleep(0.3)
        fill_disk(server)
        time.sleep(0.4)
        empty_disk(server)
        time.sleep(0.3)
    difference = flow.difference()
    assert flow.sent == flow.answers and difference == Difference(difference.answered_not_logged, 0, 0, 0)
    assert difference.answered_not_logged == server.counted("mlops_unlogged_total") > 0
    assert len(flow.logged) > 0 and server.counted("mlops_log_failures_total") > 0
