"""Log lines for events and retries, by loguru; silent until `logger.enable("supervisor")`."""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from loguru import logger

from supervisor.errors import describe
from supervisor.events import (
    CircuitGivenUp,
    CircuitRestarted,
    CircuitRetired,
    Event,
    EventsMissed,
    EventStream,
    StateChanged,
)
from supervisor.machine import CircuitState

logger.disable("supervisor")


async def log_events(stream: EventStream) -> None:
    """Log what the stream delivers, until it ends. Runs in a task of its own, never an actor's."""
    async for event in stream:
        with suppress(Exception):  # a sink that raises must not take the circuits down
            _log(event)


def log_retry(circuit: str, attempt: int, wait: float, error: BaseException | None) -> None:
    """Log that attempt number `attempt` has failed and another follows in `wait` seconds."""
    text = None if error is None else describe(error)
    with suppress(Exception):  # a sink that raises must not end the retrying
        logger.bind(circuit=circuit, attempt=attempt, wait=wait, error=text).warning(
            "{}: attempt {} failed, next one in {:.2f} s", circuit, attempt, wait
        )


def _log(event: Event | EventsMissed) -> None:
    match event:
        case StateChanged():
            _log_change(event)
        case CircuitRestarted():
            logger.bind(circuit=event.circuit, error=event.error).error(
                "circuit {}: actor restarted after {}", event.circuit, event.error
            )
        case CircuitGivenUp():
            logger.bind(circuit=event.circuit, error=event.error, verdict=event.verdict).critical(
                "circuit {}: actor given up ({}) after {}",
                event.circuit,
                event.verdict,
                event.error,
            )
        case CircuitRetired():
            logger.bind(circuit=event.circuit, reason=event.reason).debug(
                "circuit {}: retired ({})", event.circuit, event.reason
            )
        case EventsMissed():
            logger.bind(count=event.count).warning("{} events were not logged", event.count)
        case Event():
            logger.bind(circuit=event.circuit).debug(
                "circuit {}: {}", event.circuit, type(event).__name__
            )
        case _:
            assert_never(event)


def _log_change(event: StateChanged) -> None:
    opened = event.to_state is CircuitState.OPEN and not event.metrics_only
    logger.bind(
        circuit=event.circuit,
        from_state=event.from_state.value,
        to_state=event.to_state.value,
        failure_count=event.failure_count,
        retry_after=event.retry_after,
        last_failure=event.last_failure,
        metrics_only=event.metrics_only,
    ).log(
        "WARNING" if opened else "INFO",
        "circuit {}: {}{} -> {}",
        event.circuit,
        "metrics only, would go " if event.metrics_only else "",
        event.from_state.value,
        event.to_state.value,
    )
