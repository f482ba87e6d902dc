"""When a stream of a model's is complete: ready-made functions for `complete=`.

A connection that breaks off may look like an end. Without their last event, the loops of openai's
and anthropic's clients end as if all were well. Each function here takes an item, and returns
whether the stream is complete with it. It goes by the shape of the item, an object or a dictionary,
so that none of these packages has to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

_DONE: Final = ("data: [DONE]", "data:[DONE]", "[DONE]")

_RESPONDED: Final = ("response.completed", "response.incomplete")


def server_sent_events(item: object) -> bool:
    """Whether a line, or the data of an event, is the `[DONE]` that many servers send last.

    Takes text, bytes, and objects with `data`.
    """
    line = item if isinstance(item, str | bytes) else _part(item, "data")
    if isinstance(line, bytes):
        line = line.decode(errors="replace")
    return isinstance(line, str) and line.strip() in _DONE


def openai_chat(item: object) -> bool:
    """Whether a chunk of openai's `chat.completions` has a `finish_reason`.

    Of several choices (`n`), the first to finish is enough. Takes the events of
    `chat.completions.stream`, too.
    """
    choices = _part(_part(item, "chunk") or item, "choices")
    if not isinstance(choices, Iterable):
        return False
    each = cast("Iterable[object]", choices)
    return any(_part(choice, "finish_reason") is not None for choice in each)


def openai_responses(item: object) -> bool:
    """Whether an event of openai's `responses` is the last one, `response.completed`.

    `response.incomplete`, an answer up to a limit, is one as well. After `response.failed` or
    `error` the stream is not complete.
    """
    return _part(item, "type") in _RESPONDED


def anthropic_messages(item: object) -> bool:
    """Whether an event of anthropic's `messages` is the last one, `message_stop`."""
    return _part(item, "type") == "message_stop"


def _part(item: object, name: str) -> object:
    if isinstance(item, Mapping):
        return cast("Mapping[str, object]", item).get(name)
    return getattr(item, name, None)
