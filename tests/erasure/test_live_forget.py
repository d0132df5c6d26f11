"""A customer is erased while a real service answers requests about them and about others."""

import datetime as dt
import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis

from mlops_assets.erasure.forget import Forgotten, forget_subject
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.training.signature import Signature
from tests.erasure.killed_forget import opened
from tests.erasure.live_shop import LIVE
from tests.erasure.shop import CITIES, ONE, OTHERS, environment_of
from tests.integration.running_service import Server, started, wait_until
from tests.servers.redis_server import RedisServer
from tests.serving.flights import DirectDeployment, blessed, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.integration]

NOW = dt.datetime.now(dt.UTC)
SIGNATURE = Signature(LIVE.features.numeric, {"city": CITIES})


def order(customer: str) -> dict[str, Any]:
    """Later than everything that is known."""
    row = {"order_id": 7, "customer_id": customer, "city": "Ulm", "ordered_at": "2024-04-01T00:00:00Z", "amount": 5.0}
    return {"rows": [row]}


@dataclass
class Asking:
    """A client that sends requests until it is `stopped`, and each result: the customer, and the probability or the status."""

    server: Server
    stopped: Event = field(default_factory=Event)
    results: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    def run(self, customers: Sequence[str]) -> None:
        for customer in itertools.cycle(customers):
            if self.stopped.is_set():
                return
            self.results.append((customer, ask(self.server, customer)))


@contextmanager
def asking(server: Server, *customers: str) -> Generator[Asking]:
    client = Asking(server)
    thread = Thread(target=client.run, args=(customers,))
    thread.start()
    try:
        yield client
    finally:
        client.stopped.set()
        thread.join()


def ask(server: Server, customer: str) -> float:
    response = server.predict(order(customer))
    return response.content["predictions"][0]["probability"] if response.status == 200 else float(response.status)


@dataclass
class Setting:
    root: Path
    redis: RedisServer
    server: Server

    def forget(self, **options: Any) -> Forgotten:
        subject, stores = opened(self.root, redis_url=self.redis.url)
        return forget_subject(LIVE, subject, stores, why="letter", by="Ada", at=NOW, **options)


@pytest.fixture
def setting(root: Path, tmp_path: Path) -> Iterator[Setting]:
    store, home = RedisServer(tmp_path / "redis"), environment_of(root).home
    store.start()
    _, stores = opened(root, redis_url=store.url)
    for view in LIVE.features.views:
        stores.features.materialize(view.name, dt.datetime(2024, 3, 1, tzinfo=dt.UTC))
    stores.ledger.create()  # a plan without a ledger is that of a damaged home
    deployment, model = DirectDeployment(home.deployments, LIVE.name), tiny_model(-1, signature=SIGNATURE, scored="spent")
    deployment.place(1, model, blessed(1, model, SigningKeys(home.keys), use_case=LIVE.name).to_json())
    deployment.point(1)
    server = Server(home, "tests.erasure.live_shop:Live", {"MLOPS_ONLINE_STORE": store.url})
    with started(server):
        wait_until(lambda: server.answers("/readyz"), 30, server.last_words)
        yield Setting(root, store, server)
    store.kill()


def logged(root: Path) -> int:
    """The answers in the prediction log that are the customer's."""
    subject, _ = opened(root)
    rows, _ = PredictionLog(environment_of(root).home.prediction_log, LIVE).read()
    return len(rows.filter(subject.is_in_rows(rows.schema)))


def test_others_are_answered_throughout_and_the_customer_is_known_nowhere_after_it(setting: Setting) -> None:
    server, unknown = setting.server, ask(setting.server, "cst-00000")
    known = {customer: ask(server, customer) for customer in (ONE, *OTHERS)}
    assert unknown not in known.values()
    with asking(server, *OTHERS) as others, asking(server, ONE) as customer:
        time.sleep(0.5)
        done = setting.forget(patience_s=60, on_wait=customer.stopped.set)
        ended = len(others.results)
        time.sleep(2)  # longer than an answer waits in memory
    assert (done.still, done.is_final) == ({}, True)
    assert len(others.results) > ended > 50 and {*others.results} == {(other, known[other]) for other in OTHERS}
    assert {answer for _, answer in customer.results} <= {known[ONE], unknown}
    assert logged(setting.root) == 0
    assert ask(server, OTHERS[0]) == known[OTHERS[0]]
    setting.redis.kill()
    assert ask(server, OTHERS[0]) == known[OTHERS[0]], "the last known features"
    assert ask(server, ONE) in (unknown, 503)


def test_an_answer_kept_for_an_idempotency_key_is_not_sent_again_after_it(setting: Setting) -> None:
    def ask_again() -> float:
        answer = setting.server.predict(order(ONE), **{"Idempotency-Key": "order 7"})
        return answer.content["predictions"][0]["probability"]

    known, unknown = ask_again(), ask(setting.server, "cst-00000")
    assert known == ask_again() != unknown
    assert setting.forget(patience_s=60).is_final
    with redis.Redis.from_url(setting.redis.url) as client:
        assert not client.keys("mlops/answers/*")
    assert ask_again() == unknown


def test_a_client_that_goes_on_asking_for_the_customer_does_not_keep_the_command_from_its_end(setting: Setting) -> None:
    with asking(setting.server, ONE) as customer:
        done = setting.forget(patience_s=60)
        time.sleep(0.5)
    assert set(done.still) <= {"prediction_log"}
    assert {answer for _, answer in customer.results[-20:]} == {ask(setting.server, "cst-00000")}
