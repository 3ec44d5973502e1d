"""Kafka: messages bear the tag of the request being served, whichever client sends and receives them.

    producer.send("orders", body, headers=headers())           # kafka-python, aiokafka
    producer.produce("orders", body, headers=headers(given))   # confluent-kafka

    for message in consumer:
        with serving(message):
            ...

Nothing is imported from any of them: their headers have one shape, a list of (text, bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtag.context import serve
from loadtag.integrations.hooking import follow
from loadtag.propagation import extract, injected, message_setter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def headers(
    given: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
) -> list[tuple[str, Any]]:
    """Return headers for a message: the given ones, and the tag if a synthetic request is being served.

    Takes pairs, or the mapping that confluent-kafka takes, too. What is given is not changed.
    """
    pairs: Any = given.items() if given is not None and hasattr(given, "items") else given
    return injected(pairs, message_setter)


def serving(message: Any) -> serve:
    """Serve a message while a ``with`` block runs. A broken tag is no tag.

    Takes a message of kafka-python or aiokafka (``message.headers``) or confluent-kafka (``message.headers()``).
    """
    try:
        found = getattr(message, "headers", None)
        carried = found() if callable(found) else found
    except Exception:  # noqa: BLE001 - a message that can't tell its headers has no tag
        carried = None
    served = extract(carried or ())
    if served is not None:
        follow()
    return serve(served)
