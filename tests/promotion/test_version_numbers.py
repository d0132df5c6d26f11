"""A blessing is of one version number: by its signature, or for those of an earlier release by the ledger's record."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import AlreadyPlaced
from mlops_assets.training.digest import digest
from tests.promotion.model_line import ModelLine, model
from tests.serving.flights import tiny_model

Bless = Callable[..., None]


@pytest.fixture(params=[ModelLine.bless, ModelLine.bless_unnumbered], ids=["numbered", "of an earlier release"])
def bless(request: pytest.FixtureRequest) -> Bless:
    return request.param


def test_a_blessed_model_under_the_number_of_another_is_neither_promoted_nor_tried_nor_rolled_back_to(
    bless: Bless, line: ModelLine
):
    bless(line, 1, 2, 3)
    line.promote(1, 2)
    line.copy_files(2, 1)
    line.copy_files(2, 3)
    with line.unchanged():
        with pytest.raises(UnblessedModel, match=r"version 1 has .*\. Restore the files of version 1\.$"):
            line.promotions.roll_back(**line.attribution())
        for act in (lambda: line.promote(3), lambda: line.promotions.route(shadow=3, **line.attribution())):
            with pytest.raises(UnblessedModel, match=r"version 3 has .*\. Restore the files of version 3\.$"):
                act()


def test_no_server_loads_a_blessed_model_under_the_number_of_another(bless: Bless, line: ModelLine):
    bless(line, 1, 2)
    line.promote(1)
    running = line.server()
    line.copy_files(2, 1)
    restarted = line.server()
    assert restarted.lineup is None and "version 1 has" in str(restarted.last_error)
    assert running.lineup and running.lineup.champion.blessing.model_digest == digest(model(1))


def test_an_unnumbered_blessing_serves_on_before_and_after_its_plan_has_digests(line: ModelLine):
    """The plan of an earlier release has none; the next publication of the same plan adds them."""
    line.bless_unnumbered(1, 2)
    plan = line.promote(1)
    (line.folder / "plan.json").write_text(replace(plan, digests={}).to_json())
    server = line.server()
    assert server.lineup and server.lineup.champion.version == 1 and server.lineup.plan.digests == {}
    line.deployment.publish(line.state().plan)
    server.poll()
    assert server.lineup.plan == plan and plan.digests == {1: digest(model(1))} and server.last_error is None
    assert line.promote(2).champion == 2 and line.promotions.roll_back(**line.attribution()).champion == 1


def test_a_swapped_model_that_was_loaded_before_the_plan_had_digests_is_found_then(line: ModelLine):
    line.bless_unnumbered(1, 2)
    plan = line.promote(1)
    (line.folder / "plan.json").write_text(replace(plan, digests={}).to_json())
    line.copy_files(2, 1)
    server = line.server()
    line.deployment.publish(plan)
    server.poll()
    assert "version 1 has digest" in str(server.last_error)


def test_a_version_is_never_blessed_with_other_bytes_not_even_where_its_files_are_gone(line: ModelLine):
    line.bless(1)
    (line.folder / "models" / "1").rename(line.folder / "aside")
    other = tiny_model(bias=3)
    with line.unchanged(), pytest.raises(AlreadyPlaced, match="version 1 was blessed with other bytes"):
        line.promotions.bless(1, other, line.blessing(1, model_digest=digest(other)), by="ana", at=line.now())
    assert line.deployment.versions() == []


def test_the_blessing_of_another_version_is_refused_on_record(line: ModelLine):
    with pytest.raises(UnblessedModel, match="version 2 has the blessing of version 1"):
        line.promotions.bless(2, model(1), line.blessing(1), by="mallory", at=line.now())
    assert line.kinds() == ["refusal"] and line.deployment.versions() == []
