"""Histories that are cut into several event loops, one after the other, of whatever kind.

The oracle knows nothing of event loops: for it there is one circuit and one time. A cut is, to it,
that all calls are withdrawn, and then a while in which nobody has a turn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import is_dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import rule

from supervisor import StateChanged, Supervisor
from supervisor.testing import Backend
from tests.proofs.policy_histories import LONG, TICK
from tests.proofs.policy_oracle import Changed, Refused
from tests.proofs.search import STEPS, on_backend, search
from tests.proofs.test_breakers import FOR_EVER, BreakerHistories, PolicyPlayer, Step, as_changed
from tests.support.process_time import Process, process
from tests.support.seeds import Seeds
from tests.support.worlds import BACKENDS, settle_down


class KeptHistories(BreakerHistories):
    """Histories of a breaker whose circuit is kept from loop to loop."""

    def __init__(self, figures: Counter[str], figure: str, backend: Backend) -> None:
        super().__init__(figures, figure, backend)
        self.others = cycle(BACKENDS)
        self.backends: list[Backend] = [backend]  # of its loops

    @rule(seconds=st.sampled_from([0.0, TICK, 0.125, 0.5, 1.0, 4.0, LONG]))
    def cut(self, seconds: float) -> None:
        """Let the event loop end, and another one begin so many seconds later."""
        for call in [*(ask.call for ask in self.oracle.waiting), *self.running]:
            self.withdraw_from_both(call)
            self.oracle.take_back(call)
        self.machine = self.machine.without_callers()
        self.running.clear()
        self.done("cut")
        self.backend = next(self.others)
        self.backends.append(self.backend)
        self.go_on(self.now + seconds, blocked=True)

    def withdraw_from_both(self, call: int) -> None:
        done, self.done = self.done, lambda *_: None  # type: ignore[method-assign]
        try:
            self.withdraw_both(call)
        finally:
            self.done = done  # type: ignore[method-assign]

    def play_all(self) -> None:
        """Do to a breaker all that has been written down, on one event loop after the other."""
        loops: list[list[Step]] = [[]]
        for step in self.program:
            if step.action == "cut":
                loops.append([])
            else:
                loops[-1].append(rounded_step(step))
        self.player: PolicyPlayer | None = None
        self.told: list[Changed] = []
        with process() as proc:
            self.began_at = proc.now
            for steps, backend in zip(loops, self.backends, strict=True):
                if steps is not loops[0]:  # the first step of which is the time between loops
                    proc.now += steps[0].details[0]
                    steps[0] = steps[0]._replace(action="let_actor_run", details=())
                proc.run(partial(self.play_loop, proc, steps, backend), backend)
        assert self.told == [
            rounded(change)
            for change in self.oracle.changes
            if change.from_state != change.to_state
        ]

    async def play_loop(self, proc: Process, steps: list[Step], backend: Backend) -> None:
        ahead = proc.now - self.began_at  # of this loop's clock
        async with anyio.create_task_group() as tasks:
            async with Supervisor(keep="process", max_restarts=STEPS * STEPS) as supervisor:
                events = supervisor.events(buffer=STEPS * STEPS)
                player = self.next_player(supervisor)
                player.backend, player.draws, player.tasks = backend, self.draws, tasks
                with anyio.fail_after(FOR_EVER):
                    for step in steps:
                        await player.take(step)
                        if self.read_always:
                            await player.read()
                    await player.let_actor_run()
                    if steps:
                        await player.read()
                    player.check_end()
                    for scope in player.scopes.values():
                        scope.cancel()
                    await settle_down()
            player.end_all()  # what is reported now is stale
            tasks.cancel_scope.cancel()
        self.told += [
            as_changed(event, ahead) async for event in events if isinstance(event, StateChanged)
        ]

    def next_player(self, supervisor: Supervisor) -> PolicyPlayer:
        assert self.first_policy is not None
        player = PolicyPlayer(supervisor, self.first_policy, self.kinds)
        if self.player is not None:
            before = self.player
            player.answers, player.rejected = before.answers, before.rejected
            player.crashes, player.isolations = before.crashes, before.isolations
        self.player = player
        return player


def rounded(record: Any) -> Any:
    """Let times be as near as floats are on clocks that began at different times.

    Only jitter draws times that are not exact on all of them.
    """
    if not is_dataclass(record):
        return record
    times = {name for name in ("at", "retry_after") if hasattr(record, name)}
    return replace(record, **{name: pytest.approx(getattr(record, name)) for name in times})  # type: ignore[type-var]


def rounded_step(step: Step) -> Step:
    answers = {call: rounded(answer) for call, answer in step.answers.items()}
    details = tuple(map(rounded_answer, step.details))
    return Step(step.action, details, rounded(step.view), answers)


def rounded_answer(detail: Any) -> Any:
    return rounded(detail) if isinstance(detail, Refused) else detail


@pytest.mark.usefixtures("whole_failures")
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_history_in_several_loops(
    backend: Backend, seeds: Seeds, figures: Counter[str]
) -> None:
    """Whatever callers do under whatever policy, they see what they would in one loop."""
    search(
        lambda: KeptHistories(figures, f"steps in several loops, from {backend} on", backend),
        examples=on_backend(24, backend),
        seeds=seeds,
    )
