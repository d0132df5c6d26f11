import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.model_slot import RETRY_POLLS, ModelSlot
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import blessed, flip_a_bit, model_bytes_of_another_shape, place_blessed, tiny_model

AT = "2013-07-01T12:00:00+00:00"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def slot(home: Home) -> ModelSlot:
    """A slot in which version 1 answers."""
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    slot = ModelSlot(USE_CASE, Deployment(home.deployments, USE_CASE.name), SigningKeys(home.keys))
    slot.poll()
    assert slot.champion is not None and slot.champion.plan.champion == 1
    return slot


def assert_the_old_one_answers(slot: ModelSlot, because: str) -> None:
    slot.poll()
    assert slot.champion is not None and slot.champion.plan.champion == 1
    assert slot.last_error is not None and because in slot.last_error


def test_without_a_plan_nothing_answers_and_nothing_is_wrong(home: Home):
    slot = ModelSlot(USE_CASE, Deployment(home.deployments, USE_CASE.name), SigningKeys(home.keys))
    slot.poll()
    assert slot.champion is None and slot.last_error is None


def test_a_new_plan_is_taken_over_and_the_old_one_again(slot: ModelSlot, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    for version in (2, 1):
        deployment.point(version, AT, "")
        slot.poll()
        assert slot.champion is not None and slot.champion.plan == deployment.plan()
    assert slot.last_error is None


def test_an_unchanged_plan_is_not_loaded_again(slot: ModelSlot):
    before = slot.champion
    slot.poll()
    assert slot.champion is before


def test_a_flipped_bit_is_refused(slot: ModelSlot, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    flip_a_bit(home.deployments / USE_CASE.name / "models" / "2" / "model.onnx")
    deployment.point(2, AT, "")
    assert_the_old_one_answers(slot, "the file is not the blessed one")


@pytest.mark.parametrize(
    ("onnx", "because"),
    [
        (pickle.dumps({"a": "pickle"}), "onnxruntime refuses it"),
        (b"", "onnxruntime refuses it"),
        (model_bytes_of_another_shape(), "carries no 'signature'"),
        (tiny_model(float("nan")), "answers nan"),
    ],
    ids=["pickle", "empty", "another shape", "not a number"],
)
def test_even_a_blessed_file_must_be_a_model_of_ours(slot: ModelSlot, home: Home, onnx: bytes, because: str):
    deployment = place_blessed(home, 3, bias=1)
    deployment.place(2, onnx, blessed(onnx, SigningKeys(home.keys)).to_json())
    deployment.point(2, AT, "")
    assert_the_old_one_answers(slot, because)


def test_a_blessing_by_a_stranger_is_refused(slot: ModelSlot, home: Home):
    model = tiny_model(1)
    stranger = blessed(model, SigningKeys(home.keys), private_key=Ed25519PrivateKey.generate())
    deployment = Deployment(home.deployments, USE_CASE.name)
    deployment.place(2, model, stranger.to_json())
    deployment.place(3, model, replace(stranger, signature="").to_json())
    deployment.place(4, model, "no blessing at all")
    for version, because in ((2, "known keys"), (3, "known keys"), (4, "Invalid JSON")):
        deployment.point(version, AT, "")
        assert_the_old_one_answers(slot, because)


def test_a_blessing_of_another_use_case_is_refused(slot: ModelSlot, home: Home):
    model = tiny_model(1)
    deployment = Deployment(home.deployments, USE_CASE.name)
    deployment.place(2, model, blessed(model, SigningKeys(home.keys), use_case="other").to_json())
    deployment.point(2, AT, "")
    assert_the_old_one_answers(slot, "speaks for 'other'")


def test_a_broken_plan_leaves_the_old_one_answering(slot: ModelSlot, home: Home):
    plan = home.deployments / USE_CASE.name / "plan.json"
    whole = plan.read_bytes()
    for content in (b"", b"{}", b"\x80\x04", b"[]"):
        plan.write_bytes(content)
        assert_the_old_one_answers(slot, "plan · found")
    plan.write_bytes(whole)
    slot.poll()
    assert slot.last_error is None


def test_a_failed_version_is_tried_again_after_a_while(slot: ModelSlot, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    model = home.deployments / USE_CASE.name / "models" / "2" / "model.onnx"
    flip_a_bit(model)
    deployment.point(2, AT, "")
    slot.poll()
    flip_a_bit(model)
    assert_the_old_one_answers(slot, "not the blessed one")
    for _ in range(RETRY_POLLS):
        slot.poll()
    assert slot.champion is not None and slot.champion.plan.champion == 2 and slot.last_error is None


def test_going_back_from_a_failed_version_clears_its_error(slot: ModelSlot, home: Home):
    deployment = place_blessed(home, 2, bias=1)
    flip_a_bit(home.deployments / USE_CASE.name / "models" / "2" / "model.onnx")
    for version in (2, 1):
        deployment.point(version, AT, "")
        slot.poll()
    assert slot.champion is not None and slot.champion.plan == deployment.plan() and slot.last_error is None


def test_the_watching_thread_ends_when_it_is_stopped(slot: ModelSlot):
    slot.start()
    slot.stop()
    assert not slot._thread.is_alive()  # pyright: ignore[reportPrivateUsage]
