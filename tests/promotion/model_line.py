"""What the tests of promotion share: a model line with a real ledger, a real deployment target, real keys and real servers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.model_slots import ModelSlots
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import MOMENT, blessed, tiny_model, unnumbered

FORGERIES = ("wrong key", "altered gates", "other bytes", "another use case", "unsigned", "no text")


class Killed(BaseException):
    """The end of a process, raised where it would die."""


class FrailDeployment(Deployment):
    """Where `dies` is set, the process dies before servers see its plan."""

    dies = False

    def publish(self, plan: Plan) -> None:
        if self.dies:
            self.dies = False
            raise Killed
        super().publish(plan)


class FrailLedger(Ledger):
    """`before` is called once, between the read and the write of a writer: others write, or the process dies."""

    before: Callable[[], object] | None = None

    def append(self, *arguments: Any, **more: Any) -> Record:
        if (before := self.before) is not None:
            self.before = None
            before()
        return super().append(*arguments, **more)


@cache
def model(version: int) -> bytes:
    """Gives sigmoid(version / 10) for an empty row."""
    return tiny_model(bias=version / 10)


class ModelLine:
    """One use case below `root`. Every change is a minute after the previous one."""

    def __init__(self, root: Path, *, risk: str = "medium", name: str = USE_CASE.name, url: str | None = None) -> None:
        self.use_case = USE_CASE.model_copy(update={"risk": risk, "name": name})
        self.keys = SigningKeys(Home(root).keys)
        self.ledger = FrailLedger(url or f"sqlite:///{root / 'ledger.db'}", Home(root).deployments)
        self.deployment = FrailDeployment(Home(root).deployments, name)
        self.folder = Home(root).deployments / name
        self.promotions = Promotions(self.use_case, self.ledger, self.deployment, self.keys)
        self._minutes = count(1)

    def now(self) -> datetime:
        return MOMENT + timedelta(minutes=next(self._minutes))

    def attribution(self, **more: Any) -> dict[str, Any]:
        return {"reason": "a test", "by": "ana", "at": self.now()} | more

    def train(self, version: int) -> None:
        """A version that only its trainer knows yet."""

    def blessing(self, version: int, **changes: Any) -> str:
        contents = {"use_case": self.use_case.name, "blessed_at": self.now()} | changes
        return blessed(version, model(version), self.keys, **contents).to_json()

    def bless(self, *versions: int, **changes: Any) -> None:
        for version in versions:
            blessing = self.blessing(version, **changes)
            self.promotions.bless(version, model(version), blessing, by="ana", at=self.now())

    def bless_unnumbered(self, *versions: int) -> None:
        """Blesses versions as an earlier release did."""
        for version in versions:
            blessing = unnumbered(Blessing.from_json(self.blessing(version)), self.keys).to_json()
            self.promotions.bless(version, model(version), blessing, by="ana", at=self.now())

    def copy_files(self, source: int, target: int) -> None:
        """Copies the files of one version over those of another."""
        for name in ("model.onnx", "blessing.json"):
            (self.folder / "models" / str(target) / name).write_bytes((self.folder / "models" / str(source) / name).read_bytes())

    def approve(self, version: int) -> None:
        self.promotions.approve(version, why="read its evaluation", by="bob", at=self.now())

    def promote(self, *versions: int) -> Plan:
        return [self.promotions.promote(version, **self.attribution()) for version in versions][-1]

    def forgery(self, version: int, how: str) -> tuple[bytes, str]:
        """Bytes and a text that must not be accepted as a blessing of `version`."""
        match how:
            case "wrong key":
                return model(version), self.blessing(version, private_key=Ed25519PrivateKey.generate())
            case "other bytes":
                return tiny_model(bias=-version / 10), self.blessing(version)
            case "another use case":
                return model(version), self.blessing(version, use_case="loan_default")
            case "altered gates":
                return model(version), self._rewritten(version, gates=[])
            case "unsigned":
                return model(version), self._rewritten(version, signature="")
            case _:
                return model(version), "passed, honestly"

    def _rewritten(self, version: int, **changes: Any) -> str:
        return json.dumps(json.loads(self.blessing(version)) | changes)

    def state(self) -> PromotionState:
        return self.promotions.state()

    def kinds(self) -> list[str]:
        return [record.kind for record in self.ledger.records(self.use_case.name)]

    def server(self) -> ModelSlots:
        slots = ModelSlots(self.use_case, self.deployment, self.keys, Telemetry())
        slots.poll()
        return slots

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Asserts that no record is written in the block, and that servers see the same plan."""
        before = (self.state(), self.deployment.plan())
        yield
        assert (self.state(), self.deployment.plan()) == before
