"""Messages to people: to every configured address of Apprise (e-mail, chats, webhooks), and always to a log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from apprise import NotifyBase

VARIABLE = "MLOPS_ALERTS"
LEGAL = "addresses of Apprise, separated by spaces, such as mailto://user:password@example.org or slack://A/B/C"
LOG = "alerts.log"


class IllegalAddress(ValueError):
    """Not one that Apprise knows. The message has no secret."""


class Message(NamedTuple):
    """`body` is Markdown; `pictures` are PNG bytes by name."""

    title: str
    body: str
    pictures: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Channels:
    """`log` is a file, which gets a line for each line of a message."""

    addresses: Sequence[str] = field(repr=False)
    log: Path

    def write(self, message: Message, at: str) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{at} {message.title} · {line}\n" for line in message.body.splitlines() if line)

    def targets(self) -> "dict[str, NotifyBase]":
        """By their addresses without secrets. Raises IllegalAddress."""
        return {target.url(privacy=True): target for target in map(_open, range(1, len(self.addresses) + 1), self.addresses)}


def send(target: "NotifyBase", message: Message) -> bool:
    """Whether the target has taken it; waits for seconds where it is down."""
    from apprise import NotifyFormat
    from apprise.attachment.memory import AttachMemory

    attached: Any = [AttachMemory(png, name=f"{name}.png", mimetype="image/png") for name, png in message.pictures.items()]
    return bool(target.notify(message.body, title=message.title, attach=attached or None, body_format=NotifyFormat.MARKDOWN))


def _open(number: int, address: str) -> "NotifyBase":
    from apprise import Apprise

    target = Apprise.instantiate(address, suppress_exceptions=True)
    if target is None:
        scheme = f"begins with {address.partition('://')[0]!r}" if "://" in address else "has no ://"
        found = f"address {number} {scheme}, and is not one that Apprise knows (not shown, as it may have a secret)"
        raise IllegalAddress(f"{VARIABLE} · {found}; legal: {LEGAL}. Correct it.")
    return target
