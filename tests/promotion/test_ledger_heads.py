"""The newest record is remembered outside of the database: records removed from the end are reported from then on."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.ledger_file import LedgerHeads
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.promotions import NotApproved
from tests.promotion.ledger_tamper import cut_off
from tests.promotion.model_line import ModelLine

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)
KINDS = st.sampled_from(["blessing", "approval", "refusal", "waiver", "step", "promotion", "rollback", "reissue", "erasure"])


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(KINDS, min_size=1, max_size=8), cut=st.integers(1, 8), later=st.lists(KINDS, max_size=10))
def test_a_ledger_that_was_cut_after_any_record_and_written_to_again_is_noticed(
    ledger_url: str, tmp_path: Path, kinds: list[str], cut: int, later: list[str]
):
    shutil.rmtree(tmp_path / "deployments", ignore_errors=True)
    Ledger(ledger_url).create()
    cut_off(ledger_url, after=0)

    def write(kind: str, second: int) -> None:
        ledger = Ledger(ledger_url, tmp_path / "deployments")
        ledger.append("flights", kind, {"version": 1}, by="ana", at=AT + timedelta(seconds=second))  # type: ignore[arg-type]

    for second, kind in enumerate(kinds):
        write(kind, second)
    reader = Ledger(ledger_url, tmp_path / "deployments")
    assert reader.verify("flights") == [] and reader.require_whole("flights") is None
    cut_off(ledger_url, after=max(0, len(kinds) - cut))
    for second, kind in enumerate(later, start=60):
        write(kind, second)
        reader.remember("flights")
    (fault,) = reader.verify("flights")
    assert f"record {len(kinds)} " in fault and "known elsewhere" in fault
    with pytest.raises(DamagedLedger, match=f"record {len(kinds)} .* was written and is gone"):
        reader.require_whole("flights")


@pytest.mark.parametrize("lost", ["approval", "refusal", "blessing"])
def test_a_record_above_the_newest_plan_is_missed_and_nothing_is_promoted_without_it(risky: ModelLine, lost: str):
    risky.bless(1, 2)
    risky.approve(1)
    risky.promote(1)
    if lost != "approval":
        risky.approve(2)
    head = risky.state().head
    acts = {
        "approval": lambda: risky.approve(2),
        "refusal": lambda: risky.promotions.refuse(2, reason="It leaks.", by="bob", at=risky.now()),
        "blessing": lambda: risky.bless(3),
    }
    acts[lost]()
    cut_off(risky.ledger.address, after=head)
    risky.bless(4)
    with risky.unchanged():
        with pytest.raises(NotApproved if lost == "approval" else DamagedLedger):
            risky.promote(2)
        with pytest.raises(DamagedLedger, match="was written and is gone"):
            risky.approve(2)
    placed = PlacedVersions("flight_delay", risky.ledger, risky.deployment, risky.keys)
    assert f"record {head + 1} differs" in placed.alarm() and "mirror flight_delay --replace" in placed.alarm()
    risky.ledger.accept("flight_delay")
    (kept,) = risky.folder.glob("replaced-head-*")
    assert kept.read_text().startswith(f"{head + 1} ") and placed.alarm() == ""
    risky.approve(2)
    assert risky.promote(2).champion == 2


def test_a_record_is_remembered_once_the_folder_can_be_written(tmp_path: Path):
    (tmp_path / "heads").write_text("no folder")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "heads")
    ledger.append("flights", "waiver", {}, by="ana", at=AT)
    assert len(ledger.records("flights")) == 1
    with pytest.raises(OSError):
        ledger.remember("flights")
    (tmp_path / "heads").unlink()
    ledger.remember("flights")
    assert LedgerHeads(tmp_path / "heads").read("flights") == (1, ledger.records("flights")[0].digest)


def test_a_slow_writer_never_moves_the_head_back(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)
    first, second = (ledger.append("flights", "waiver", {}, by="ana", at=AT) for _ in range(2))
    LedgerHeads(tmp_path).advance("flights", (first.number, first.digest), lambda _: True)
    assert LedgerHeads(tmp_path).read("flights") == (second.number, second.digest)


def test_an_unreadable_head_is_a_fault_and_blocks_no_record(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "deployments")
    ledger.append("flights", "waiver", {}, by="ana", at=AT)
    file = tmp_path / "deployments" / "flights" / "ledger_head"
    file.write_bytes(b"\xff\x00")
    ledger.append("flights", "waiver", {}, by="ana", at=AT)
    assert len(ledger.records("flights")) == 2 and "legal: number and digest of a record" in ledger.verify("flights")[0]
    ledger.accept("flights")
    assert ledger.verify("flights") == []


def test_the_loss_of_every_record_can_be_accepted(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "deployments")
    ledger.append("flights", "waiver", {}, by="ana", at=AT)
    cut_off(ledger.address, after=0)
    assert "known elsewhere" in ledger.verify("flights")[0]
    ledger.accept("flights")
    assert ledger.verify("flights") == [] and len([*(tmp_path / "deployments" / "flights").glob("replaced-head-*")]) == 1


def test_a_ledger_of_waivers_alone_that_is_gone_is_not_a_new_one(tmp_path: Path):
    Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "deployments").append("flights", "waiver", {}, by="ana", at=AT)
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(DamagedLedger, match="its home has deployments/flights/ledger_head"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").records("flights")
