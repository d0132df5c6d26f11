"""Revoking a signing key: what needs its signature, signing again, and that servers start at every moment of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.promotion.blessing import Blessing, UnblessedModel
from mlops_assets.promotion.ledger import ConcurrentWrite
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.signing_keys import UnusableKey
from tests.promotion.ledger_tamper import overwrite, stored, unguard
from tests.promotion.model_line import Killed, ModelLine, model
from tests.serving.flights import flip_a_bit


def placed_versions(line: ModelLine) -> PlacedVersions:
    return PlacedVersions(line.use_case.name, line.ledger, line.deployment, line.keys)


def reissue(line: ModelLine, *versions: int) -> None:
    for version in versions:
        placed_versions(line).reissue(version, by="ana", at=line.now())


def rotate(line: ModelLine) -> str:
    """The key that signed so far."""
    old = line.keys.current()
    line.keys.rotate()
    assert old is not None
    return old


def withdraw(line: ModelLine, key_id: str) -> None:
    line.keys.withdraw(key_id, needed_by=[f"version {version}" for version in placed_versions(line).needing(key_id)])


def serves(line: ModelLine) -> int:
    """What a server that starts now serves."""
    lineup = line.server().lineup
    assert lineup is not None
    return lineup.champion.version


@pytest.mark.parametrize("bless", [ModelLine.bless, ModelLine.bless_unnumbered], ids=["numbered", "of an earlier release"])
def test_a_key_is_revoked_while_a_version_always_serves(bless: Callable[..., None], line: ModelLine):
    bless(line, 1, 2, 3)
    line.promote(1, 2)
    running, old = line.server(), rotate(line)
    assert serves(line) == 2
    for version in (1, 2, 3):
        with pytest.raises(UnusableKey, match=f"{old} signed what serves, waits or could be rolled back to: .*version {version}"):
            withdraw(line, old)
        reissue(line, version)
        running.poll()
        assert serves(line) == 2 and running.last_error is None
    withdraw(line, old)
    assert serves(line) == 2
    line.promotions.route(challenger=3, share=0.5, **line.attribution())
    assert serves(line) == 2
    line.promotions.roll_back(**line.attribution())
    assert line.promotions.roll_back(**line.attribution()).champion == 1 == serves(line)
    assert line.ledger.verify(line.use_case.name) == []


def test_a_version_that_is_signed_again_keeps_its_evidence_and_number(line: ModelLine):
    line.bless_unnumbered(1)
    before = Blessing.from_json(line.deployment.load(1)[1])
    rotate(line)
    record = placed_versions(line).reissue(1, by="ana", at=line.now())
    after = Blessing.from_json(line.deployment.load(1)[1])
    changed = {name for name, value in vars(after).items() if value != vars(before)[name]}
    assert changed == {"key_id", "signature", "version"} and (after.version, after.key_id) == (1, line.keys.current())
    assert (record.kind, record.by, record.body["version"]) == ("reissue", "ana", 1)
    assert (record.body["replaced"], record.body["key_id"]) == (before.key_id, after.key_id)
    assert record.body["blessing"] == after.to_json()


def test_signing_again_keeps_approvals_and_refusals(risky: ModelLine):
    risky.bless(1, 2)
    risky.approve(1)
    risky.promotions.refuse(2, reason="It leaks.", by="ana", at=risky.now())
    rotate(risky)
    reissue(risky, 1, 2)
    assert risky.promote(1).champion == 1
    with pytest.raises(UnblessedModel, match="was refused"):
        risky.promote(2)


def test_versions_that_serve_run_wait_or_can_be_rolled_back_to_need_their_key_and_no_others(line: ModelLine):
    line.bless(1, 2, 3, 4, 5)
    line.promote(1, 2)
    line.promotions.route(challenger=3, share=0.5, **line.attribution())
    line.promotions.refuse(4, reason="It leaks.", by="ana", at=line.now())
    key = line.keys.current()
    assert key is not None
    assert placed_versions(line).needing(key) == [1, 2, 3, 5]
    assert placed_versions(line).signed_with(key) == [1, 2, 3, 4, 5]
    flip_a_bit(line.folder / "models" / "1" / "model.onnx")  # no server loads it, with the key or without
    assert placed_versions(line).needing(key) == [2, 3, 5]


def test_versions_of_a_key_that_was_withdrawn_already_are_signed_again(line: ModelLine):
    line.bless(1)
    line.promote(1)
    old = rotate(line)
    line.keys.withdraw(old, needed_by=[])
    refused = line.server()
    assert refused.lineup is None and "`mlops signing reissue KEY` signs again" in str(refused.last_error)
    assert placed_versions(line).signed_with(old) == [1]
    reissue(line, 1)
    assert serves(line) == 1


def test_only_the_model_and_the_evidence_of_the_ledger_are_signed_again(line: ModelLine):
    line.bless(1, 2)
    line.deployment.place(3, model(3), line.blessing(3))
    rotate(line)
    line.copy_files(2, 1)
    with line.unchanged():
        with pytest.raises(UnblessedModel, match="the file is not the blessed one"):
            reissue(line, 1)
        with pytest.raises(UnblessedModel, match="version 3 has no blessing in the ledger"):
            reissue(line, 3)
    (line.folder / "models" / "2" / "blessing.json").write_text(line.forgery(2, "wrong key")[1])
    reissue(line, 2)
    assert line.promote(2).champion == 2


def test_a_ledger_that_was_edited_is_not_signed(line: ModelLine, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    line.bless(1)
    rotate(line)
    placed = line.deployment.load(1)
    unguard(url)
    overwrite(url, [row | {"body": row["body"].replace("e" * 64, "f" * 64)} for row in stored(url)])
    with pytest.raises(DamagedLedger, match=r"record 1 was altered: .*Restore the ledger from its backup"):
        reissue(line, 1)
    assert line.deployment.load(1) == placed and line.kinds() == ["blessing"]


def test_a_death_before_placing_and_another_writer_leave_a_version_that_serves(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    old = rotate(line)
    line.ledger.before = lambda: line.promotions.refuse(2, reason="It leaks.", by="bob", at=line.now())
    with pytest.raises(ConcurrentWrite, match="refusal by bob"):
        reissue(line, 1)

    def die() -> None:
        raise Killed

    line.ledger.before = die
    with pytest.raises(Killed):
        reissue(line, 1)
    assert serves(line) == 1 and placed_versions(line).needing(old) == [1]
    reissue(line, 1)
    assert serves(line) == 1 and placed_versions(line).needing(old) == []


def test_a_placed_model_that_the_ledger_did_not_bless_is_named(line: ModelLine):
    line.bless(1, 2)
    assert placed_versions(line).faults() == []
    line.copy_files(2, 1)
    (fault,) = placed_versions(line).faults()
    assert fault.startswith("flight_delay · version 1 has digest ") and "; the ledger blessed " in fault


def test_a_needed_model_whose_files_are_gone_is_named_and_placed_again(line: ModelLine):
    line.bless(1, 2, 3)
    line.promote(1)
    line.promote(3)
    old = rotate(line)
    reissue(line, 1, 2, 3)
    withdraw(line, old)
    shutil.rmtree(line.folder / "models" / "1")
    shutil.rmtree(line.folder / "models" / "2")  # superseded: nothing needs it
    (line.folder / "models" / "3" / "model.onnx").unlink()
    gone, unreadable = sorted(placed_versions(line).faults())
    assert "version 1 is not placed, and it serves, waits or can be rolled back to. `mlops ledger mirror flight_delay`" in gone
    assert "version 3 cannot be read: No such file or directory" in unreadable
    alarm = placed_versions(line).alarm()
    assert gone in alarm and "newest backup" not in alarm, "the ledger itself is whole"
    assert placed_versions(line).misplaced() == [1, 3]
    with pytest.raises(UnblessedModel):
        placed_versions(line).restore(1, model(2))
    for version in (1, 3):
        placed_versions(line).restore(version, model(version))
    assert placed_versions(line).faults() == [] and serves(line) == 3
    line.promotions.roll_back(**line.attribution())
    assert serves(line) == 1
