"""What a member asks the store for its circuits, and the tokens that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import TaskGroup

from supervisor.circuit import Circuit, order
from supervisor.machine import Asked, CircuitState, Failed, Probed, Take, ToFleet
from supervisor.sharing.choice import Sharing
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.failures import PARTS, Failures
from supervisor.sharing.known import Known
from supervisor.sharing.outbox import Outbox
from supervisor.sharing.store import Epoch, Link, Renewing, Settling, Step
from supervisor.sharing.translation import (
    Reader,
    counting_of,
    number_of,
    step_of,
    without_failure,
)

RENEWALS: Final = 3
"""How often a token is renewed in the time that it is good for."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to ask the store for a circuit.

    Attributes:
        number: what the answer is to have; 0: nobody waits for it.
    """

    circuit: Circuit
    step: Step
    number: int = 0


class Errands:
    """Those of one member.

    Args:
        owner: the member's name.
        sharing: the store, and how long tokens are good for.
        known: is told of every record.
        clock: is told of the store's clock.
        reader: reads answers.
    """

    def __init__(
        self, owner: str, sharing: Sharing, known: Known, clock: StoreClock, reader: Reader
    ) -> None:
        self._owner = owner
        self._sharing = sharing
        self._known = known
        self._clock = clock
        self._reader = reader
        self._outbox: Outbox[Errand] = Outbox()
        self._held: dict[str, tuple[Circuit, Epoch]] = {}  # tokens of probes that run
        self._tokens = 0
        self._leaves = False
        self._failures: Failures[Circuit] = Failures()

    def add(self, circuit: Circuit, told: ToFleet) -> None:
        """Ask for what a circuit tells; failures are only counted, and told by `count`."""
        if isinstance(told, Failed):
            self._failures.add(circuit, told)
            return
        token = ""
        if isinstance(told, Probed):
            self._held.pop(told.token, None)
        elif isinstance(told, Asked):
            self._tokens += 1
            token = f"{self._owner}/{self._tokens}"
        step = step_of(circuit.name, told, circuit.time(), token, self._sharing.lease)
        self._put(Errand(circuit, step, number_of(told)))

    def clear(self) -> None:
        """Ask for nothing any more; tokens mean nothing any more."""
        self._outbox.clear()
        self._held.clear()
        self._failures.clear()

    def give_back(self, circuit: Circuit) -> None:
        """Give back the tokens of a circuit that has ended."""
        for token, (holder, epoch) in list(self._held.items()):
            if holder is circuit:
                self._give_back(circuit, token, epoch)

    def leave(self) -> None:
        """Ask for what there is still, and then for nothing more."""
        self._leaves = True
        self._outbox.stir()

    async def run(self, link: Link, group: TaskGroup) -> None:
        """Ask for what there is, until there will be nothing more."""

        async def ask(errand: Errand) -> None:
            await self._ask(link, errand)

        await self._outbox.send_all(ask, group, lambda: self._leaves)

    async def renew(self) -> None:
        """Prolong tokens, each by a step of its circuit's."""
        lease = self._sharing.lease
        while True:
            await anyio.sleep(lease / RENEWALS)
            for token, (circuit, epoch) in self._held.items():
                self._put(Errand(circuit, Renewing(circuit.name, epoch, token, lease)))

    async def count(self) -> None:
        """Tell how many calls have failed, as often as a part of the time is over."""
        together = self._sharing.together
        while together is not None:
            await anyio.sleep(together.within / PARTS)
            for circuit, failures, last in self._failures.end_part():
                if circuit.running and circuit.machine.would_be is CircuitState.CLOSED:
                    self._put(Errand(circuit, counting_of(circuit.name, failures, last, together)))

    def _put(self, errand: Errand) -> None:
        self._outbox.put(errand.circuit.name, errand)

    def _give_back(self, circuit: Circuit, token: str, epoch: Epoch) -> None:
        self._held.pop(token, None)
        self._put(
            Errand(circuit, Settling(circuit.name, epoch, token, "given back", 1, 0.0, 0, None))
        )

    async def _ask(self, link: Link, errand: Errand) -> None:
        """Let the store take one step, and tell the circuit what has become of it."""
        step, circuit, clock = errand.step, errand.circuit, errand.circuit.loop.clock
        if not self._sharing.share_failures:
            step = without_failure(step)
        asked = clock.time()
        answer = await link.take(step, self._known.latest)
        now = clock.time()
        self._clock.read(answer.now, asked, now)
        if answer.record is not None:
            self._known.add(circuit.name, answer.record)
        if isinstance(step, Renewing):
            if answer.outcome != "leased":
                self._held.pop(step.token, None)
            if step.token not in self._held:
                return  # the probe has ended meanwhile, or its token
        message = self._reader.answer(answer, now, errand.number, getattr(step, "token", ""))
        if isinstance(message, Take):
            self._lend(circuit, message)
        elif message is not None:
            order(circuit, message)

    def _lend(self, circuit: Circuit, token: Take) -> None:
        epoch = Epoch(*token.epoch)
        if circuit.running and not self._leaves:
            self._held[token.token] = circuit, epoch
            order(circuit, token)
        else:
            self._give_back(circuit, token.token, epoch)
