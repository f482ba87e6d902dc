"""The log lines of circuits and retries: the text and the fields of each, for whatever library."""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from supervisor.errors import describe
from supervisor.events import (
    CallsRefused,
    CircuitGivenUp,
    CircuitRestarted,
    CircuitRetired,
    Event,
    EventsMissed,
    EventStream,
    FleetJoined,
    FleetLost,
    InnerGaveUp,
    StateChanged,
)
from supervisor.instrumentation.lines import write
from supervisor.loop import is_cancellation, read_settings_if_any
from supervisor.machine import CircuitState
from supervisor.settings import SettingsError


async def log_events(stream: EventStream) -> None:
    """Log what the stream delivers, until it ends. Runs in a task of its own, never an actor's."""
    try:
        with suppress(SettingsError):  # who needs them is told; lines go where they do by default
            await read_settings_if_any()
        async for event in stream:
            _log(event)
    except BaseException as end:
        if is_cancellation(end):  # the event loop may be ending: this waits for nothing more
            stream.close()
            async for event in stream:
                _log(event)
        raise


def log_retry(circuit: str, attempt: int, wait: float, error: BaseException | None) -> None:
    """Log that attempt number `attempt` has failed and another follows in `wait` seconds."""
    text = None if error is None else describe(error)
    write(
        "WARNING",
        "%s: attempt %d failed, next one in %.2f s",
        (circuit, attempt, wait),
        {"circuit": circuit, "attempt": attempt, "wait": wait, "error": text},
    )


def log_refusals(circuit: str, refused: int, seconds: float) -> None:
    """Log how many calls a circuit has refused in the last so many seconds."""
    write(
        "WARNING",
        "circuit %s: calls refused in the last %.3g s: %d",
        (circuit, seconds, refused),
        {"circuit": circuit, "refused": refused, "seconds": seconds},
    )


def log_malformed(store: str, what: str) -> None:
    """Log that something in a store of shared circuits cannot be read, and is skipped."""
    write(
        "WARNING",
        "%s: %s cannot be read and is skipped, as others will be without a word",
        (store, what),
        {"store": store, "malformed": what},
    )


def log_raised(function: str, circuit: str, error: BaseException) -> None:
    """Log that a function has raised something when it was told of a change of state."""
    text = describe(error)
    write(
        "ERROR",
        "circuit %s: %s, which was told of a change of state, raised %s",
        (circuit, function, text),
        {"circuit": circuit, "on_change": function, "error": text},
        error,
    )


def log_untold(function: str, count: int) -> None:
    """Log how many changes of state a function has missed, or was cut short by the end in."""
    write(
        "WARNING",
        "%s was not told of changes of state, since there was no time for it: %d",
        (function, count),
        {"on_change": function, "count": count},
    )


def log_trace_fault(file: str, error: BaseException) -> None:
    """Log that calls cannot be written to a trace, from now on until it is said to be over."""
    text = describe(error)
    write(
        "ERROR",
        "trace %s: calls cannot be written, %s",
        (file, text),
        {"trace": file, "error": text},
    )


def log_trace_gap(file: str, count: int) -> None:
    """Log how many calls are missing in a trace."""
    write(
        "WARNING",
        "trace %s: calls that are missing in it: %d",
        (file, count),
        {"trace": file, "missing": count},
    )


def _log(event: Event | EventsMissed) -> None:
    match event:
        case StateChanged():
            _log_change(event)
        case CircuitRestarted():
            _log_restart(event)
        case CircuitGivenUp():
            write(
                "CRITICAL",
                "circuit %s: actor given up (%s) after %s",
                (event.circuit, event.verdict, event.error),
                {"circuit": event.circuit, "error": event.error, "verdict": event.verdict},
            )
        case CircuitRetired():
            write(
                "DEBUG",
                "circuit %s: retired (%s)",
                (event.circuit, event.reason),
                {"circuit": event.circuit, "reason": event.reason},
            )
        case FleetJoined() | FleetLost():
            _log_link(event)
        case InnerGaveUp():
            pass  # the inner one has logged that
        case CallsRefused():
            pass  # whoever has counted them has logged that, also where no stream is left
        case EventsMissed():
            write("WARNING", "%d events were not logged", (event.count,), {"count": event.count})
        case Event():
            write(
                "DEBUG",
                "circuit %s: %s",
                (event.circuit, type(event).__name__),
                {"circuit": event.circuit},
            )
        case _:
            assert_never(event)


def _log_restart(event: CircuitRestarted) -> None:
    when = f" in {event.pause:.2f} s" if event.pause else ""
    write(
        "ERROR",
        "circuit %s: actor restarted%s after %s",
        (event.circuit, when, event.error),
        {"circuit": event.circuit, "error": event.error, "pause": event.pause},
    )


def _log_link(event: FleetJoined | FleetLost) -> None:
    if isinstance(event, FleetJoined):
        write("INFO", "fleet joined, members: %d", (event.members,), {"members": event.members})
    else:
        text = "fleet lost, every circuit decides alone: %s"
        write("WARNING", text, (event.error,), {"error": event.error})


def _log_change(event: StateChanged) -> None:
    opened = event.to_state is CircuitState.OPEN and not event.metrics_only
    would_go = "metrics only, would go " if event.metrics_only else ""
    states = event.from_state.value, event.to_state.value
    write(
        "WARNING" if opened else "INFO",
        "circuit %s: %s%s -> %s",
        (event.circuit, would_go, *states),
        {
            "circuit": event.circuit,
            "from_state": event.from_state.value,
            "to_state": event.to_state.value,
            "failure_count": event.failure_count,
            "retry_after": event.retry_after,
            "last_failure": event.last_failure,
            "metrics_only": event.metrics_only,
            "origin": event.origin,
        },
    )
