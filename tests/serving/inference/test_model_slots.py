import logging
import pickle
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import generate_latest

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.model_slots import KEPT, POLL_S, RETRY_POLLS, Lineup, ModelSlots
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import DirectDeployment, blessed, flip_a_bit, model_bytes_of_another_shape, place_blessed, tiny_model

AT = "2013-07-01T12:00:00+00:00"


def truncate(path: Path) -> None:
    path.write_bytes(b"")


class Watcher(Deployment):
    """A deployment that remembers which versions were read, and the telemetry of the slots."""

    def __init__(self, home: Home) -> None:
        super().__init__(home.deployments, USE_CASE.name)
        self.telemetry, self.loaded = Telemetry(), list[int]()

    def load(self, version: int) -> tuple[bytes, str]:
        self.loaded.append(version)
        return super().load(version)

    @property
    def failures(self) -> float:
        (metric,) = self.telemetry.not_loaded.collect()
        return metric.samples[0].value


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def watcher(home: Home) -> Watcher:
    return Watcher(home)


@pytest.fixture
def empty(home: Home, watcher: Watcher) -> ModelSlots:
    return ModelSlots(USE_CASE, watcher, SigningKeys(home.keys), watcher.telemetry)


@pytest.fixture
def slots(home: Home, empty: ModelSlots) -> ModelSlots:
    """Slots in which version 1 answers."""
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    empty.poll()
    assert champion_of(empty) == 1
    return empty


def lineup_of(slots: ModelSlots) -> Lineup:
    assert slots.lineup is not None
    return slots.lineup


def champion_of(slots: ModelSlots) -> int:
    return lineup_of(slots).champion.version


def model_file(home: Home, version: int) -> Path:
    return home.deployments / USE_CASE.name / "models" / str(version) / "model.onnx"


def assert_the_old_one_answers(slots: ModelSlots, because: str) -> None:
    slots.poll()
    assert champion_of(slots) == lineup_of(slots).plan.champion == 1
    assert slots.last_error is not None and because in slots.last_error


def test_without_a_plan_nothing_answers_and_nothing_is_wrong(empty: ModelSlots, watcher: Watcher):
    empty.poll()
    assert empty.lineup is None and empty.last_error is None
    assert (watcher.loaded, watcher.failures) == ([], 0)


def test_a_new_plan_is_taken_over_and_the_old_one_again(slots: ModelSlots, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    for version in (2, 1):
        deployment.point(version, AT, "")
        slots.poll()
        assert lineup_of(slots).plan == deployment.plan() and champion_of(slots) == version
    assert slots.last_error is None


def test_an_unchanged_plan_is_not_loaded_again(slots: ModelSlots):
    before = slots.lineup
    slots.poll()
    assert slots.lineup is before


def test_a_rollout_brings_challenger_and_shadow_and_its_end_takes_them_away(slots: ModelSlots, home: Home):
    for version in (2, 3):
        deployment = place_blessed(home, version, bias=1)
    deployment.route(challenger=2, share=0.1, shadow=3, at=AT, reason="")
    slots.poll()
    taken = lineup_of(slots)
    assert taken.challenger is not None and taken.shadow is not None
    assert (taken.champion.version, taken.challenger.version, taken.shadow.version) == (1, 2, 3)
    deployment.route(at=AT, reason="")
    slots.poll()
    assert lineup_of(slots) == Lineup(deployment.plan(), taken.champion, None, None)


def test_a_version_in_two_slots_is_loaded_once(slots: ModelSlots, home: Home, watcher: Watcher):
    place_blessed(home, 2, bias=1).route(challenger=2, share=0.1, shadow=2, at=AT, reason="")
    slots.poll()
    assert lineup_of(slots).challenger is lineup_of(slots).shadow is not None
    assert watcher.loaded == [1, 2]


@pytest.mark.parametrize("broken", [2, 3])
@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit, truncate], ids=["missing", "altered", "empty"])
def test_a_plan_is_taken_whole_or_not_at_all(slots: ModelSlots, home: Home, broken: int, damage: Callable[[Path], None]):
    for version in (2, 3):
        deployment = place_blessed(home, version, bias=1)
    damage(model_file(home, broken))
    before = slots.lineup
    deployment.route(challenger=2, share=0.1, shadow=3, at=AT, reason="")
    slots.poll()
    assert slots.lineup is before
    assert slots.last_error is not None
    assert slots.last_error.startswith(f"plan 2 is not taken · version {broken} is not served · ")


def test_a_new_champion_with_a_broken_challenger_waits_for_a_plan_without_it(slots: ModelSlots, home: Home):
    for version in (2, 3):
        deployment = place_blessed(home, version, bias=1)
    flip_a_bit(model_file(home, 3))
    deployment.point(2, AT, "")
    deployment.route(challenger=3, share=0.1, at=AT, reason="")
    assert_the_old_one_answers(slots, "version 3 is not served")
    deployment.route(at=AT, reason="")
    slots.poll()
    assert champion_of(slots) == 2 and slots.last_error is None


def test_loaded_models_stay_warm_and_what_is_on_the_disk_no_longer_matters(slots: ModelSlots, home: Home, watcher: Watcher):
    deployment = place_blessed(home, 2, bias=1)
    first = lineup_of(slots).champion
    deployment.point(2, AT, "")
    slots.poll()
    flip_a_bit(model_file(home, 1))
    deployment.point(1, AT, "back")
    slots.poll()
    assert lineup_of(slots).champion is first and slots.last_error is None
    assert watcher.loaded == [1, 2]


def test_at_most_four_models_are_kept_the_last_champions_first(slots: ModelSlots, home: Home, watcher: Watcher):
    observed = [weakref.ref(lineup_of(slots).champion)]
    for version in range(2, 9):
        deployment = place_blessed(home, version, bias=1)
        deployment.point(version, AT, "")
        slots.poll()
        observed.append(weakref.ref(lineup_of(slots).champion))
    assert [number for number, kept in enumerate(observed, 1) if kept()] == [5, 6, 7, 8]
    for version in (5, 6, 7, 8):
        deployment.point(version, AT, "")
        slots.poll()
    assert watcher.loaded == [1, 2, 3, 4, 5, 6, 7, 8]
    deployment.point(4, AT, "")
    slots.poll()
    assert watcher.loaded[-1] == 4


def test_many_rollouts_do_not_push_the_previous_champion_out(slots: ModelSlots, home: Home, watcher: Watcher):
    deployment = place_blessed(home, 2, bias=1)
    deployment.point(2, AT, "")
    slots.poll()
    for version in range(3, 3 + 2 * KEPT, 2):
        place_blessed(home, version, bias=1)
        place_blessed(home, version + 1, bias=1)
        deployment.route(challenger=version, share=0.1, shadow=version + 1, at=AT, reason="")
        slots.poll()
    deployment.point(1, AT, "back")
    slots.poll()
    assert champion_of(slots) == 1 and watcher.loaded.count(1) == 1


@pytest.mark.parametrize("slot", ["champion", "challenger", "shadow"])
@pytest.mark.parametrize(
    ("onnx", "because"),
    [
        (pickle.dumps({"a": "pickle"}), "onnxruntime refuses it"),
        (b"", "onnxruntime refuses it"),
        (model_bytes_of_another_shape(), "has no 'signature'"),
        (tiny_model(float("nan")), "gives an empty row nan"),
    ],
    ids=["pickle", "empty", "another shape", "not a number"],
)
def test_even_a_blessed_file_must_be_a_model_of_ours(slots: ModelSlots, home: Home, slot: str, onnx: bytes, because: str):
    deployment = DirectDeployment(home.deployments, USE_CASE.name)
    deployment.place(2, onnx, blessed(2, onnx, SigningKeys(home.keys)).to_json())
    if slot == "champion":
        deployment.point(2, AT, "")
    else:
        deployment.route(**{slot: 2}, at=AT, reason="")
    assert_the_old_one_answers(slots, because)


def test_a_blessing_by_a_stranger_is_refused(slots: ModelSlots, home: Home):
    model = tiny_model(1)
    stranger = blessed(2, model, SigningKeys(home.keys), private_key=Ed25519PrivateKey.generate())
    deployment = DirectDeployment(home.deployments, USE_CASE.name)
    deployment.place(2, model, stranger.to_json())
    deployment.place(3, model, replace(stranger, signature="").to_json())
    deployment.place(4, model, "no blessing at all")
    for version, because in ((2, "known keys"), (3, "known keys"), (4, "Invalid JSON")):
        deployment.point(version, AT, "")
        assert_the_old_one_answers(slots, because)


def test_a_blessing_of_another_use_case_is_refused(slots: ModelSlots, home: Home):
    model = tiny_model(1)
    deployment = DirectDeployment(home.deployments, USE_CASE.name)
    deployment.place(2, model, blessed(2, model, SigningKeys(home.keys), use_case="other").to_json())
    deployment.point(2, AT, "")
    assert_the_old_one_answers(slots, "is for 'other'")


def test_a_broken_plan_leaves_the_old_one_answering(slots: ModelSlots, home: Home, watcher: Watcher):
    plan = home.deployments / USE_CASE.name / "plan.json"
    whole = plan.read_bytes()
    for content in (b"", b"{}", b"\x80\x04", b"[]", whole.replace(b'"share":0.0', b'"share":0.5')):
        plan.write_bytes(content)
        assert_the_old_one_answers(slots, "plan · found")
    assert watcher.failures == 5
    plan.write_bytes(whole)
    slots.poll()
    assert slots.last_error is None


def test_a_plan_that_was_not_loaded_is_tried_again_after_a_while(slots: ModelSlots, home: Home, watcher: Watcher):
    deployment = place_blessed(home, 2, bias=1)
    flip_a_bit(model_file(home, 2))
    deployment.point(2, AT, "")
    slots.poll()
    flip_a_bit(model_file(home, 2))
    assert_the_old_one_answers(slots, "not the blessed one")
    assert watcher.failures == 1
    for _ in range(RETRY_POLLS):
        slots.poll()
    assert champion_of(slots) == 2 and slots.last_error is None


def test_a_lasting_error_is_logged_once_and_counted_at_every_attempt(
    slots: ModelSlots, home: Home, watcher: Watcher, caplog: pytest.LogCaptureFixture
):
    deployment = place_blessed(home, 2, bias=1)
    flip_a_bit(model_file(home, 2))
    deployment.point(2, AT, "")
    with caplog.at_level(logging.ERROR, "bentoml.mlops_assets"):
        for _ in range(3 * RETRY_POLLS):
            slots.poll()
    assert [record.message for record in caplog.records] == [slots.last_error]
    assert watcher.failures == 3


def test_a_rollback_from_a_failed_version_clears_its_error(slots: ModelSlots, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    flip_a_bit(model_file(home, 2))
    for version in (2, 1):
        deployment.point(version, AT, "")
        slots.poll()
    assert lineup_of(slots).plan == deployment.plan() and slots.last_error is None


def test_the_time_of_a_load_is_measured(empty: ModelSlots, home: Home, watcher: Watcher, monkeypatch: pytest.MonkeyPatch):
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    monkeypatch.setattr(time, "perf_counter", count(10.0, 2.5).__next__)
    empty.poll()
    page = generate_latest(watcher.telemetry.registry).decode()
    assert "mlops_model_load_seconds_sum 2.5" in page and "mlops_model_load_seconds_count 1.0" in page


def test_a_new_plan_is_picked_up_by_itself_and_the_thread_ends_when_it_is_stopped(slots: ModelSlots, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    slots.start()
    deployment.point(2, AT, "")
    changed = time.monotonic()
    while champion_of(slots) != 2 and time.monotonic() < changed + 10:
        time.sleep(0.01)
    slots.stop()
    assert champion_of(slots) == 2 and POLL_S < 1
    assert not slots._thread.is_alive()  # pyright: ignore[reportPrivateUsage]


def test_a_reader_during_swaps_always_sees_a_plan_with_its_own_models(slots: ModelSlots, home: Home):
    for version in (2, 3):
        deployment = place_blessed(home, version, bias=1)
    observed: list[tuple[int | None, ...]] = []
    ended = Event()

    def read() -> None:
        while not ended.is_set():
            taken = lineup_of(slots)
            plan, challenger = taken.plan, taken.challenger
            observed.append((plan.champion, taken.champion.version, plan.challenger, challenger.version if challenger else None))

    reader = Thread(target=read)
    reader.start()
    for _ in range(5):
        for version in (2, 1):
            deployment.point(version, AT, "")
            slots.poll()
            deployment.route(challenger=3, share=0.5, at=AT, reason="")
            slots.poll()
    ended.set()
    reader.join()
    assert {(planned, planned_challenger) for planned, _version, planned_challenger, _challenger in observed} >= {(1, 3), (2, 3)}
    assert all(
        planned == version and planned_challenger == challenger for planned, version, planned_challenger, challenger in observed
    )
