"""The alerts of one use case: each cause once, all of one moment in one message, and a message when it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import msgspec

from mlops_assets.foundation.channels import Message
from mlops_assets.spec.use_case import UseCase

MAX_PICTURES, MAX_UNSENT = 3, 20


class Alarm(NamedTuple):
    """`name` says what has failed, `symptoms` what in it; `link` is the page of its evidence, empty without one."""

    name: str
    message: str
    symptoms: tuple[str, ...] = ()
    link: str = ""
    picture: bytes | None = None


@dataclass(frozen=True)
class Sent:
    """What has been sent: the symptoms of each alarm that is not over, and the messages that an address has not taken yet, by
    address. The field names are keys of stored JSON.
    """

    alarms: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    unsent: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict[str, Sequence[tuple[str, str]]])

    @classmethod
    def of_cursor(cls, cursor: str | None) -> Self:
        return msgspec.json.decode(cursor, type=cls) if cursor else cls()

    def to_cursor(self) -> str:
        return msgspec.json.encode(self).decode()

    def after(self, alarms: Sequence[Alarm]) -> dict[str, list[str]]:
        """A symptom that comes back while its alarm lasts is the same cause."""
        return {one.name: sorted({*self.alarms.get(one.name, ()), *one.symptoms}) for one in alarms}


def find_news(use_case: UseCase, alarms: Sequence[Alarm], sent: Sent, *, status_url: str | None = None) -> Message | None:
    """What has not been sent; None where that is nothing."""
    new = [one for one in alarms if one.name not in sent.alarms or {*one.symptoms} - {*sent.alarms[one.name]}]
    over = sorted(sent.alarms.keys() - {one.name for one in alarms})
    if not new and not over:
        return None
    lines = [f"**{one.name}**: {one.message}{f' [Evidence]({one.link})' if one.link else ''}" for one in new]
    lines += [f"Over: {name}." for name in over]
    lasting = len(alarms) - len(new)
    lines += [f"{lasting} earlier alarm{'s' * (lasting != 1)} last{'s' * (lasting == 1)}."] if lasting else []
    status = f"`mlops status {use_case.name}`{f' or the [status page]({status_url}/#{use_case.name})' if status_url else ''}"
    lines.append(f"Owner: {use_case.owner}. What serves, and how to go back: {status}.")
    pictures = dict([(one.name, one.picture) for one in new if one.picture][:MAX_PICTURES])
    return Message(f"{use_case.name}: {_title(len(new), len(over), lasting)}", "\n\n".join(lines), pictures)


def _title(new: int, over: int, lasting: int) -> str:
    if new:
        return f"{new} new alarm{'s' * (new != 1)}"
    return f"{over} alarm{'s are' if over != 1 else ' is'} over" + ("" if lasting else ", all is well")
