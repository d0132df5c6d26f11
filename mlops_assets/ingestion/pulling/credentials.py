"""Credentials, kept out of messages: errors of libraries quote the addresses that they were called with."""

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

HIDDEN = "***"


def hide(message: str, secrets: Iterable[str]) -> str:
    """The message without the secrets, or the passwords in them, in any form that an address has them."""
    parts = {part for secret in secrets for part in _parts(secret)}
    for part in sorted(filter(None, parts), key=len, reverse=True):
        message = message.replace(part, HIDDEN)
    return message


def _parts(secret: str) -> Iterator[str]:
    for text in (secret, secret.partition(":")[2], *_parts_of_address(secret)):
        yield from (text, quote(text), quote(text, safe=""), quote_plus(text), repr(text)[1:-1])


def _parts_of_address(secret: str) -> Iterator[str]:
    """The password, as written and decoded, and the options, which may have one too."""
    try:
        address = urlsplit(secret)
        yield from (address.password or "", unquote(address.password or ""))
        yield from (value for _, value in parse_qsl(address.query))
    except ValueError:
        return
