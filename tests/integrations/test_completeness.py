"""What the last item of a stream looks like: as an object of a client's, or as plain data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import CircuitBreaker, IncompleteStreamError
from supervisor.integrations.completeness import (
    anthropic_messages,
    openai_chat,
    openai_responses,
    server_sent_events,
)


def as_object(item: Any) -> Any:
    """Return an object with the attributes that a dictionary has as keys."""
    if isinstance(item, dict):
        return SimpleNamespace(**{name: as_object(value) for name, value in item.items()})
    return [as_object(each) for each in item] if isinstance(item, list) else item


def chunk(*reasons: str | None) -> dict[str, Any]:
    return {"choices": [{"delta": {}, "finish_reason": reason} for reason in reasons]}


LAST: list[tuple[Callable[[object], bool], Any]] = [
    (server_sent_events, "data: [DONE]"),
    (server_sent_events, "data:[DONE]\r\n"),
    (server_sent_events, b"data: [DONE]\n\n"),
    (server_sent_events, {"event": "message", "data": "[DONE]"}),
    (openai_chat, chunk("stop")),
    (openai_chat, chunk("length")),
    (openai_chat, chunk(None, "tool_calls")),
    (openai_chat, {"type": "chunk", "chunk": chunk("stop"), "snapshot": {}}),
    (openai_responses, {"type": "response.completed", "response": {}}),
    (openai_responses, {"type": "response.incomplete", "response": {}}),
    (anthropic_messages, {"type": "message_stop"}),
]

NOT_LAST: list[tuple[Callable[[object], bool], Any]] = [
    (server_sent_events, ""),
    (server_sent_events, b"\xff"),
    (server_sent_events, 'data: {"text": "data: [DONE]"}'),
    (server_sent_events, ": [DONE]"),
    (server_sent_events, {"event": "done", "data": None}),
    (openai_chat, chunk(None)),
    (openai_chat, chunk()),
    (openai_chat, {"choices": None}),
    (openai_chat, {"type": "content.delta", "delta": "stop"}),
    (openai_chat, {"type": "chunk", "chunk": chunk(None), "snapshot": chunk("stop")}),
    (openai_responses, {"type": "response.created"}),
    (openai_responses, {"type": "response.failed"}),
    (openai_responses, {"type": "error"}),
    (anthropic_messages, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
    (anthropic_messages, {"type": "error", "error": {"type": "overloaded_error"}}),
]


@pytest.mark.parametrize("made", [lambda item: item, as_object])
@pytest.mark.parametrize(("complete", "item"), LAST)
def test_the_last_item(complete: Any, item: Any, made: Any) -> None:
    """It is known in either shape."""
    assert complete(made(item)) is True


@pytest.mark.parametrize("made", [lambda item: item, as_object])
@pytest.mark.parametrize(("complete", "item"), NOT_LAST)
def test_any_other_item(complete: Any, item: Any, made: Any) -> None:
    """What may go on, or has failed, is not complete."""
    assert complete(made(item)) is False


@pytest.mark.parametrize(
    "complete", [server_sent_events, openai_chat, openai_responses, anthropic_messages]
)
@pytest.mark.parametrize("item", [None, 7, b"", object(), [], {}])
def test_what_is_not_of_that_kind(complete: Any, item: object) -> None:
    """An item of another kind is no reason to raise."""
    assert complete(item) is False


@pytest.mark.anyio
async def test_usage_may_come_after_it() -> None:
    """As openai's last chunk does, if that is asked for."""

    async def chunks(*items: Any) -> AsyncIterator[Any]:
        for item in items:
            yield item

    breaker = CircuitBreaker("x", 1)
    async with breaker.stream(
        chunks, chunk(None), chunk("stop"), chunk(), complete=openai_chat
    ) as items:
        assert len([item async for item in items]) == 3
    with pytest.raises(IncompleteStreamError):
        async with breaker.stream(chunks, chunk(None), chunk(), complete=openai_chat) as items:
            async for _ in items:
                pass
    assert breaker.statistics().last_failure is not None
