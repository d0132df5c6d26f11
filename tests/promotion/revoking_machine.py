"""The promotion machine in which people also rotate signing keys, sign again and withdraw."""

from contextlib import suppress

from hypothesis.stateful import precondition, rule

from mlops_assets.promotion.blessing import Blessing, UnblessedModel
from mlops_assets.promotion.deployment import UnknownVersion
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.signing_keys import UnusableKey
from tests.promotion.machine import PromotionMachine


class RevokingMachine(PromotionMachine):
    def intact(self, version: int) -> bool:
        if not super().intact(version):
            return False
        return Blessing.from_json(self.line.deployment.load(version)[1]).key_id in self.line.keys.public()

    def placed_versions(self) -> PlacedVersions:
        return PlacedVersions(self.line.use_case.name, self.line.ledger, self.line.deployment, self.line.keys)

    @rule()
    def rotate(self) -> None:
        self.line.keys.rotate()

    @rule(version=PromotionMachine.versions)
    def reissue(self, version: int) -> None:
        with suppress(UnblessedModel, UnknownVersion):
            record = self.placed_versions().reissue(version, by="ana", at=self.line.now())
            assert self.line.deployment.load(version)[1] == record.body["blessing"]
            self.genuine.add(record.body["blessing"])

    @precondition(lambda self: len(self.line.keys.public()) > 1)
    @rule()
    def withdraw(self) -> None:
        """The oldest key, or nothing: whatever a server could load before, and may be needed, it can load after."""
        old, placed = min({*self.line.keys.public()} - {self.line.keys.current()}), self.placed_versions()
        before = [version for version in self.line.state().needed if self.intact(version)]
        with suppress(UnusableKey):
            self.line.keys.withdraw(old, needed_by=[str(version) for version in placed.needing(old)])
        assert [version for version in self.line.state().needed if self.intact(version)] == before
