from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.promotion.blessing import Blessing, GateVerdict, UnblessedModel, verify
from mlops_assets.promotion.signing_keys import key_id
from mlops_assets.training.digest import digest

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = {key_id(KEY.public_key()): KEY.public_key()}
PASSED = GateVerdict("floor_auc", True, 0.72, 0.68)
FAILED = GateVerdict("calibrated", False, 0.3, 0.1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
MODEL = b"the bytes of a model"


def blessing_of(onnx: bytes = MODEL, gates: tuple[GateVerdict, ...] = (PASSED,), key: Ed25519PrivateKey = KEY) -> Blessing:
    return Blessing(
        use_case="flight_delay",
        version=7,
        model_digest=digest(onnx),
        evaluation_digest="e" * 64,
        gates=gates,
        training={"window": "2013-01-01/2013-04-30"},
        blessed_at=datetime(2013, 5, 1, tzinfo=UTC).isoformat(),
    ).signed_by(key)


def check(blessing: Blessing, onnx: bytes = MODEL, use_case: str = "flight_delay", **changes: Any) -> None:
    facts: dict[str, Any] = {"use_case": use_case, "version": 7, "onnx": onnx, "public_keys": PUBLIC, "recorded": None}
    verify(blessing, **(facts | changes))


def signed_by_hand(blessing: Blessing) -> Blessing:
    """What someone who holds the key could sign without `signed_by`."""
    return replace(blessing, signature=KEY.sign(blessing.signed_bytes).hex())


def test_a_blessed_model_verifies_and_survives_json():
    blessing = blessing_of()
    check(blessing)
    again = Blessing.from_json(blessing.to_json())
    assert again == blessing
    check(again)


@given(
    gate=st.builds(GateVerdict, st.just("g"), st.just(True), NUMBER | st.none(), NUMBER, NUMBER | st.none(), NUMBER | st.none()),
    training=st.dictionaries(st.text(), st.text(), max_size=3),
)
def test_any_numbers_and_texts_survive_json_with_their_signature(gate: GateVerdict, training: dict[str, str]):
    blessing = signed_by_hand(replace(blessing_of(), gates=(gate,), training=training))
    again = Blessing.from_json(blessing.to_json())
    check(again)
    assert again == blessing


def test_a_failed_gate_is_refused_by_name():
    with pytest.raises(UnblessedModel, match=r"gate 'calibrated' failed: measured 0.3, bound 0.1"):
        blessing_of(gates=(PASSED, FAILED))


def test_a_model_that_nothing_judged_is_refused():
    with pytest.raises(UnblessedModel, match="no gate judged this model"):
        blessing_of(gates=())


def test_a_gate_may_be_without_a_measurement_and_an_interval():
    blessing = blessing_of(gates=(GateVerdict("beats_champion_auc", True, None, 0.95),))
    again = Blessing.from_json(blessing.to_json())
    check(again)
    assert again == blessing


def test_the_interval_of_a_measurement_is_signed_with_it():
    blessing = blessing_of(gates=(replace(PASSED, low=0.70, high=0.74),))
    assert (blessing.gates[0].low, blessing.gates[0].high) == (0.70, 0.74)
    with pytest.raises(UnblessedModel, match="was altered"):
        check(replace(blessing, gates=(replace(blessing.gates[0], low=0.71),)))


@given(st.integers(0, len(MODEL) * 8 - 1))
def test_every_flipped_bit_of_the_model_is_found(bit: int):
    flipped = bytearray(MODEL)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnblessedModel, match="the file is not the blessed one"):
        check(blessing_of(), onnx=bytes(flipped))


def test_a_key_that_is_not_known_is_no_blessing():
    with pytest.raises(UnblessedModel, match="known keys: " + next(iter(PUBLIC))):
        check(blessing_of(key=OTHER))


def test_another_key_under_a_known_name_is_no_blessing():
    with pytest.raises(UnblessedModel, match="was altered"):
        check(replace(blessing_of(key=OTHER), key_id=next(iter(PUBLIC))))


@pytest.mark.parametrize(
    "change",
    [
        {"evaluation_digest": "f" * 64},
        {"gates": (replace(PASSED, measured=0.9),)},
        {"training": {"window": "another"}},
        {"blessed_at": "2014-05-01T00:00:00+00:00"},
        {"model_digest": "0" * 64},
        {"use_case": "other"},
        {"version": 8},
        {"version": None},
        {"signature": ""},
        {"signature": "not hex"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_field_can_be_altered_after_signing(change: dict[str, object]):
    with pytest.raises(UnblessedModel, match="was altered"):
        check(replace(blessing_of(), **change))  # type: ignore[arg-type]


def test_a_signed_but_failed_gate_is_still_no_blessing():
    with pytest.raises(UnblessedModel, match="gate 'calibrated' failed"):
        check(signed_by_hand(replace(blessing_of(), gates=(FAILED,))))


def test_a_blessing_of_another_use_case_does_not_count():
    with pytest.raises(UnblessedModel, match="is for 'flight_delay'"):
        check(blessing_of(), use_case="other")


def test_a_blessing_of_another_version_does_not_count():
    with pytest.raises(UnblessedModel, match="version 8 has the blessing of version 7. Restore the files of version 8"):
        check(blessing_of(), version=8)


# Signed with KEY by the release before numbers were signed.
UNNUMBERED = """{
  "blessed_at": "2013-05-01T00:00:00+00:00",
  "evaluation_digest": "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
  "gates": [{"bound": 0.68, "high": null, "low": null, "measured": 0.72, "name": "floor_auc", "passed": true}],
  "key_id": "cd8fa86afd6bf20d",
  "model_digest": "68d18a506016639d3a8274be1d740a81afb482ffbfad7e4c3e10a5a32fd04840",
  "signature": "21784d44c350a0217eb2fd4ad401b45736f99c5006aa65c155b2fdd2ca1120ae89c06d26e3f3cadeee2dc5b26582de770d0f546473244c3a46dcd19ea09cf305",
  "training": {"window": "2013-01-01/2013-04-30"},
  "use_case": "flight_delay"
}"""


def test_a_blessing_without_a_number_is_readable_and_bound_by_the_recorded_digest():
    blessing = Blessing.from_json(UNNUMBERED)
    assert blessing.version is None
    for recorded in (None, blessing.model_digest):
        check(blessing, recorded=recorded)
    with pytest.raises(UnblessedModel, match=r"version 7 has digest .*…; the ledger blessed dddddddddddd…. Restore the files"):
        check(blessing, recorded="d" * 64)
    with pytest.raises(UnblessedModel, match="was altered"):
        check(replace(blessing, version=7))


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x80\x04pickle", '{"use_case": 1}', b"\x80\x04\x95"])
def test_a_text_that_is_no_blessing_says_so(text: str | bytes):
    with pytest.raises(UnblessedModel, match=r"^blessing · .*Bless the model again\.$"):
        Blessing.from_json(text)
