"""Anything that people, processes and attackers can do to one model line, in any order, and what must hold after each of it.

Belongs here: the rules and the invariants. Not here: what a legal ledger is (audit.py), and running this (test_state_machine.py).
"""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import AlreadyPlaced, IllegalRoute, Plan, UnknownVersion, UnreadablePlan
from mlops_assets.promotion.ledger import ConcurrentWrite
from mlops_assets.promotion.promotion_state import plan_of
from mlops_assets.promotion.promotions import NotApproved
from mlops_assets.serving.inference.model_slots import RETRY_POLLS, LoadedModel
from mlops_assets.training.digest import digest
from tests.promotion.audit import Audit
from tests.promotion.model_line import FORGERIES, Killed, ModelLine, model
from tests.serving.flights import tiny_model

REFUSED = (NotApproved, UnblessedModel, UnknownVersion, IllegalRoute, AlreadyPlaced)
VERSIONS = 6
FAULTS = st.sampled_from(["none", "none", "dies before the record", "dies before servers see it", "rival"])
WHICH = st.sampled_from([0, 1])


class PromotionMachine(RuleBasedStateMachine):
    """`audited`: whether records and refusals are checked too, and not only the answers of servers. `tampered`: whether
    a person edits the files of the server.
    """

    audited = True
    tampered = True
    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.root = TemporaryDirectory(prefix="promotion-")
        self.judged: dict[int, str] = {}
        self.genuine: set[str] = set()  # texts of blessings
        self.kept: dict[Path, bytes] = {}  # the contents of altered files before the change
        self.answers: list[LoadedModel] = []  # loaded models that have answered like a judged one
        self.trained, self.disturbed = 0, False

    def teardown(self) -> None:
        self.root.cleanup()

    def line_below(self, root: Path, risk: str) -> ModelLine:
        return ModelLine(root, risk=risk)

    @initialize(target=versions, risk=st.sampled_from(["medium", "high"]), lived=st.sampled_from([True, True, False]))
    def begin(self, risk: str, lived: bool) -> Any:
        """A new line, or one with a champion and others that may follow; the last version was not judged yet."""
        self.line = self.line_below(Path(self.root.name), risk)
        self.audit = Audit(self.judged, high_risk=risk == "high")
        versions = [self.train(judged=lived, approved=lived) for _ in range(3)] + [self.train(judged=False, approved=False)]
        if lived:
            self.line.promote(1)
        self.servers = [self.line.server(), self.line.server()]
        return multiple(*versions)

    # --- what trainers, judges and people do

    @precondition(lambda self: self.trained < VERSIONS)
    @rule(target=versions, judged=st.booleans(), approved=st.booleans())
    def train(self, judged: bool, approved: bool) -> int:
        self.trained += 1
        self.line.train(self.trained)
        if judged:
            self.bless(self.trained, "e")
            if approved:
                self.approve(self.trained)
        return self.trained

    @rule(version=versions, evidence=st.sampled_from("ef"))
    def bless(self, version: int, evidence: str) -> None:
        text = self.line.blessing(version, evaluation_digest=evidence * 64)
        self.genuine.add(text)
        self.judged[version] = digest(model(version))
        legal = version not in self.line.deployment.versions() or self.line.deployment.load(version)[0] == model(version)
        author = {"by": "judge", "at": self.line.now()}
        self.attempt(lambda: self.line.promotions.bless(version, model(version), text, **author), legal=legal)

    @rule(version=versions, how=st.sampled_from(FORGERIES), placed=st.booleans())
    def forge(self, version: int, how: str, placed: bool) -> None:
        onnx, text = self.line.forgery(version, how)
        with suppress(UnblessedModel, AlreadyPlaced):
            self.line.promotions.bless(version, onnx, text, by="mallory", at=self.line.now())
        if placed and version not in self.line.deployment.versions():
            self.line.deployment.place(version, onnx, text)

    @rule(version=versions)
    def refuse(self, version: int) -> None:
        self.line.promotions.refuse(version, reason="It leaks.", by="judge", at=self.line.now())

    @rule(version=versions)
    def approve(self, version: int) -> None:
        self.attempt(lambda: self.line.approve(version), legal=version in self.line.state().blessings)

    @rule(version=versions, fault=FAULTS)
    def promote(self, version: int, fault: str) -> None:
        now = self.line.state()
        champion = now.plan is not None and now.plan.champion == version and now.challenger_version is None
        self.change(lambda: self.line.promote(version), fault, legal=champion or self.may(version), again=True)

    @rule(version=versions, share=st.sampled_from([0.0, 0.05, 0.5]), fault=FAULTS)
    def try_out(self, version: int, share: float, fault: str) -> None:
        whom: dict[str, Any] = {"challenger": version, "share": share} if share else {"shadow": version}
        champion = self.audit.champion
        legal = champion not in (None, version) and self.may(version)
        self.change(lambda: self.line.promotions.route(**whom, **self.line.attribution()), fault, legal=legal, again=True)

    @rule(fault=FAULTS)
    def roll_back(self, fault: str) -> None:
        stood = self.audit.champions
        legal = self.audit.challenger is not None or (len(stood) > 1 and self.intact(stood[-2]))
        self.change(lambda: self.line.promotions.roll_back(**self.line.attribution()), fault, legal=legal, again=False)

    @rule(one=versions, other=versions)
    def promote_two_at_once(self, one: int, other: int) -> None:
        decided_on = self.line.state()
        for version, by in ((one, "ana"), (other, "bob")):
            with suppress(*REFUSED, ConcurrentWrite):
                self.line.promotions.promote(version, **self.line.attribution(by=by, decided_on=decided_on))

    @precondition(lambda self: self.audited)
    @rule(age=st.integers(1, 4))
    def publish_late(self, age: int) -> None:
        """A process that wrote its record, slept, and wakes."""
        plans = [plan_of(record, {}) for record in self.line.ledger.records(self.line.use_case.name) if "plan" in record.body]
        if len(plans) > age:
            self.line.deployment.publish(plans[-1 - age])

    # --- what happens to files

    @precondition(lambda self: self.tampered)
    @rule(version=versions, name=st.sampled_from(["model.onnx", "blessing.json"]))
    def alter(self, version: int, name: str) -> None:
        path = self.line.folder / "models" / str(version) / name
        if path.exists():
            self.kept.setdefault(path, path.read_bytes())
            other = tiny_model(bias=-5) if name == "model.onnx" else self.line.forgery(version, "wrong key")[1].encode()
            path.write_bytes(other)

    @precondition(lambda self: self.kept)
    @rule()
    def restore(self) -> None:
        for path, content in self.kept.items():
            path.write_bytes(content)
        self.kept.clear()

    @precondition(lambda self: self.tampered)
    @rule(version=versions, slot=st.sampled_from(["champion", "challenger", "shadow", "torn"]), older=WHICH)
    def edit_plan(self, version: int, slot: str, older: int) -> None:
        plan = self.line.state().plan
        if plan is not None:
            edited = json.loads(plan.to_json()) | {"plan": plan.number - older, slot: version}
            text = json.dumps({name: value for name, value in edited.items() if name != "torn"})
            (self.line.folder / "plan.json").write_text(text[:40] if slot == "torn" else text)
            self.disturbed = True

    # --- servers

    @rule(which=WHICH)
    def poll(self, which: int) -> None:
        server = self.servers[which]
        before = server.lineup
        server.poll()
        if server.lineup is not before:
            assert server.lineup and server.lineup.plan == self.line.deployment.plan()

    @rule(which=WHICH)
    def restart(self, which: int) -> None:
        self.servers[which] = self.line.server()

    @rule()
    def look_again(self) -> None:
        """The sensor's next look: servers see the plan in force, and load it unless a file that it names is wrong."""
        state = self.line.state()
        if state.plan is not None and self.audited:
            self.line.deployment.publish(state.plan)
            assert self.line.deployment.plan() == state.plan
            for server in self.servers:
                for _ in range(RETRY_POLLS + 1):
                    server.poll()
                named = {state.plan.champion, state.plan.challenger, state.plan.shadow} - {None}
                if all(self.intact(version) for version in named):
                    assert server.lineup and server.lineup.plan == state.plan, server.last_error

    # --- what must hold

    @invariant()
    def no_unblessed_version_is_with_a_server(self) -> None:
        for server in self.servers:
            if lineup := server.lineup:
                for loaded in (lineup.champion, lineup.challenger, lineup.shadow):
                    if loaded is not None and not any(loaded is answer for answer in self.answers):
                        self.ask(loaded)

    @invariant()
    def every_record_is_legal_and_the_chain_is_whole(self) -> None:
        if self.audited:
            for record in self.line.ledger.records(self.line.use_case.name, after=self.audit.head):
                self.audit.read(record)
            self.audit.agrees_with(self.line.state())
            assert self.line.ledger.verify(self.line.use_case.name) == []

    @invariant()
    def what_servers_see_is_on_record(self) -> None:
        """The newest plan; an older one only where a process died or a person edited the file."""
        if self.audited:
            in_force = self.line.state().plan
            try:
                self.disturbed = self.disturbed and self.line.deployment.plan() != in_force
                assert self.disturbed or self.line.deployment.plan() == in_force, "servers see an old plan"
            except UnreadablePlan:
                assert self.disturbed

    # --- how

    def ask(self, loaded: LoadedModel) -> None:
        """Asserts that the output of the model is that of a judged version."""
        probability = float(loaded.model.score(np.full((1, len(loaded.model.signature.inputs)), np.nan, np.float32))[0])
        assert any(math.isclose(probability, 1 / (1 + math.exp(-version / 10)), abs_tol=1e-6) for version in self.judged), (
            f"an unblessed version: {loaded.version} is with a server"
        )
        self.answers.append(loaded)

    def intact(self, version: int) -> bool:
        """Whether the files of the version are those that were judged and blessed."""
        if version not in self.line.deployment.versions():
            return False
        onnx, text = self.line.deployment.load(version)
        return digest(onnx) == self.judged.get(version) and text in self.genuine

    def may(self, version: int) -> bool:
        return self.audit.may(version) and self.intact(version)

    def head(self) -> int:
        return self.line.state().head

    def attempt(self, act: Callable[[], object], *, legal: bool) -> bool:
        """Whether the change succeeded. A refused change leaves no record, and a legal one is not refused."""
        before = self.head()
        try:
            act()
        except REFUSED as error:
            self.every_record_is_legal_and_the_chain_is_whole()
            assert not self.audited or (not legal and self.head() == before), error
            return False
        return True

    def change(self, act: Callable[[], Plan], fault: str, *, legal: bool, again: bool) -> None:
        before = self.head()
        self.line.deployment.dies = fault == "dies before servers see it"
        self.line.ledger.before = {"dies before the record": self.die, "rival": self.overtake}.get(fault)
        try:
            done = self.attempt(act, legal=legal)
        except Killed:
            self.disturbed = self.disturbed or self.head() > before
            return
        except ConcurrentWrite as outrun:
            assert "refusal by the rival" in str(outrun)
            return
        finally:
            self.line.deployment.dies, self.line.ledger.before = False, None
        if done and again:
            after = self.head()
            act()
            assert self.head() == after, "the same again wrote another record"

    def die(self) -> None:
        raise Killed

    def overtake(self) -> None:
        self.line.promotions.refuse(99, reason=f"at {self.line.now()}", by="the rival", at=self.line.now())
