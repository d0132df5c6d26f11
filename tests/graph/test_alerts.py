"""Alerts arrive at real mail and web servers: each cause once, with its evidence, and when it is over."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import Drift, Performance
from mlops_assets.foundation import names
from mlops_assets.foundation.channels import IllegalAddress
from mlops_assets.graph.compile import build_use_case
from mlops_assets.resources import ChannelsResource, LedgerResource
from tests.cli.loans import LOANS
from tests.servers.inbox import Inbox, open_inbox

USE_CASE = LOANS.but(monitors=(Drift(), Performance()))
SENSOR = next(one for one in build_use_case(USE_CASE).sensors or () if one.name == "loans_alerts")
PNG = "iVBORw0KGgo="


class Watch:
    """The sensor of one instance, with the addresses of an inbox."""

    def __init__(self, home: Path, inbox: Inbox, instance: dg.DagsterInstance) -> None:
        self.home, self.inbox, self.instance, self.cursor = home, inbox, instance, ""
        self.addresses, self.ledger = f"{inbox.mail_address} {inbox.web_address}", f"sqlite:///{home / 'ledger.db'}"

    def judge(self, stage: str, check: str, *, symptoms: tuple[str, ...] = (), passed: bool = False) -> None:
        metadata = {"symptoms": dg.MetadataValue.json([*symptoms])} if symptoms else {}
        key = dg.AssetKey(names.stage("loans", stage))
        text = "All is well." if passed else f"{stage} is bad."
        self.instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, check, passed, metadata, description=text))

    def tick(self) -> str:
        resources = {
            "channels": ChannelsResource(
                addresses=self.addresses, folder=str(self.home / "logs"),
                dagster_url="http://d.example", status_url="http://s.example",
            ),
            "ledger": LedgerResource(url=self.ledger, heads=str(self.home)),
        }  # fmt: skip
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor or None, resources=resources) as context:
            data = SENSOR.evaluate_tick(context)
            self.cursor = data.cursor or ""
        return data.skip_message or ""

    def log(self) -> list[str]:
        file = self.home / "logs" / "alerts.log"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with open_inbox() as inbox, dg.DagsterInstance.ephemeral() as instance:
        yield Watch(tmp_path, inbox, instance)


def test_one_cause_is_one_message_with_picture_cause_and_link_and_one_when_it_is_over(watch: Watch) -> None:
    assert watch.tick() == "Nothing new."
    key = dg.AssetKey(names.stage("loans", "drift"))
    picture = {"pictures": dg.MetadataValue.md(f"![psi](data:image/png;base64,{PNG})")}
    watch.instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=picture))
    for _ in range(3):
        watch.judge("drift", Drift.CHECK, symptoms=("amount",))
        watch.judge("performance", Performance.CHECK)
        watch.tick()
    (mail,) = watch.inbox.mails
    assert (mail["Subject"], mail["To"]) == ("loans: 2 new alarms", "oncall@example.org")
    body = mail.get_body(("html",))
    assert body is not None and "drift is bad." in body.get_content() and "performance is bad." in body.get_content()
    assert 'href="http://d.example/assets/loans/drift?view=checks' in body.get_content().replace("&amp;", "&")
    assert "team:credit" in body.get_content() and "http://s.example/#loans" in body.get_content()
    assert [part.get_content_type() for part in mail.iter_attachments()] == ["image/png"]
    (post,) = watch.inbox.posts
    assert post["title"] == "loans: 2 new alarms" and "drift is bad." in post["text"]
    watch.judge("drift", Drift.CHECK, passed=True)
    watch.tick()
    watch.judge("performance", Performance.CHECK, passed=True)
    watch.tick()
    assert [mail["Subject"] for mail in watch.inbox.mails[1:]] == [
        "loans: 1 alarm is over",
        "loans: 1 alarm is over, all is well",
    ]
    assert "Over: drift" in watch.inbox.posts[1]["text"] and "1 earlier alarm lasts." in watch.inbox.posts[1]["text"]
    assert len(watch.inbox.posts) == 3 and sum("is bad." in line for line in watch.log()) == 2


def test_a_new_symptom_is_another_cause_and_one_that_comes_back_is_not(watch: Watch) -> None:
    for symptoms in (("amount",), ("amount", "purpose"), ("purpose",), ("amount",)):
        watch.judge("drift", Drift.CHECK, symptoms=symptoms)
        watch.tick()
    assert [post["title"] for post in watch.inbox.posts] == ["loans: 1 new alarm"] * 2


@pytest.mark.slow
def test_an_undelivered_alert_is_sent_later_in_order_and_no_other_address_waits(watch: Watch) -> None:
    watch.addresses += f" json://127.0.0.1:{watch.inbox.web_port}1/x"  # where nobody answers
    watch.inbox.is_down = True
    watch.judge("drift", Drift.CHECK)
    assert watch.tick().count("takes no message; 1 wait") == 3
    watch.judge("drift", Drift.CHECK, passed=True)
    watch.tick()
    watch.inbox.is_down = False
    message = watch.tick()
    assert message.count("takes no message; 2 wait") == 1 and "sesame" not in message
    assert [post["title"] for post in watch.inbox.posts] == ["loans: 1 new alarm", "loans: 1 alarm is over, all is well"]
    assert [mail["Subject"] for mail in watch.inbox.mails] == [post["title"] for post in watch.inbox.posts]
    assert "Nothing new." in watch.tick() and len(watch.inbox.posts) == 2


def test_without_an_address_alarms_are_in_the_log(watch: Watch) -> None:
    watch.addresses = ""
    watch.judge("drift", Drift.CHECK)
    assert watch.tick() == "Sent: loans: 1 new alarm."
    assert watch.log()[0].endswith("UTC loans: 1 new alarm · **drift · inputs_like_training**: drift is bad. [Evidence]"
                                   "(http://d.example/assets/loans/drift?view=checks&checkDetail=inputs_like_training)")  # fmt: skip


def test_a_run_that_failed_is_an_alarm_until_its_assets_are_made(watch: Watch) -> None:
    outcome = {"fails": True}

    @dg.asset(key=names.validated("loans", "payments"))
    def validated() -> None:
        if outcome["fails"]:
            raise OSError("No space left on device")

    job = dg.Definitions(assets=[validated]).resolve_implicit_global_asset_job_def()
    for fails in (True, True, False):
        outcome["fails"] = fails
        job.execute_in_process(instance=watch.instance, asset_selection=[validated.key], raise_on_error=False)
        watch.tick()
    assert [post["title"] for post in watch.inbox.posts] == ["loans: 1 new alarm", "loans: 1 alarm is over, all is well"]
    assert "No space left on device" in watch.inbox.posts[0]["text"]


def test_a_ledger_that_does_not_answer_is_an_alarm_itself(watch: Watch) -> None:
    answering, watch.ledger = watch.ledger, "postgresql://ana:sesame@127.0.0.1:9/ledger"  # nothing listens there
    for _ in range(2):
        watch.tick()
    watch.ledger = answering
    watch.tick()
    assert [post["title"] for post in watch.inbox.posts] == ["loans: 1 new alarm", "loans: 1 alarm is over, all is well"]
    assert "**ledger**" in watch.inbox.posts[0]["text"] and "sesame" not in watch.inbox.posts[0]["text"]


def test_an_illegal_address_fails_the_tick_and_writes_nothing_twice(watch: Watch) -> None:
    legal, watch.addresses = watch.addresses, "pigeon://sesame"
    watch.judge("drift", Drift.CHECK)
    for _ in range(2):
        with pytest.raises(IllegalAddress, match="address 1 begins with 'pigeon'"):
            watch.tick()
    watch.addresses = legal
    watch.tick()
    assert len(watch.inbox.posts) == 1 and sum("is bad." in line for line in watch.log()) == 1
