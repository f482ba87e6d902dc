"""A supervisor's member of the fleet: one task, which tells the store what circuits do and mails
circuits what the fleet says.

Circuits never wait for it: they hear of it by their mailboxes, and what they tell, it sends when it
can. When the store cannot be reached, whoever waits for an answer is told at once to decide alone;
and whatever went wrong, be it here, the member tries to join again.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

import anyio
from anyio.lowlevel import checkpoint

from supervisor.circuit import Circuit, force, order
from supervisor.loop import EventLoop, is_cancellation, raise_later
from supervisor.machine import BY_HAND, Asked, CircuitState, Decide, Probed, SharedMachine, ToFleet
from supervisor.sharing.choice import Sharing
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.errands import Errands
from supervisor.sharing.hearing import Hearing, is_shared, shared_among, slices
from supervisor.sharing.known import Known
from supervisor.sharing.store import Link
from supervisor.sharing.translation import Reader

JOIN_WITHIN: Final = 0.5
"""Seconds for which a supervisor's block waits to be told how things stand."""

LEAVE_WITHIN: Final = 0.25
"""Seconds in which tokens are given back at the end."""

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0
"""Seconds before another try to join; twice as many after each link that lasts no longer than the
longest wait, or there is none: one that can be made need not be of use.
"""

LinkChanged = Callable[[int, Exception | None], None]
"""Is told how many members there are, or why the store cannot be reached any more."""


class Member:
    """What joins the circuits of one supervisor to the fleet.

    Args:
        sharing: the store, and which circuits are shared.
        circuits: those of the supervisor, by name, at any time.
        link_changed: is told when the store is reached, and when it is not any more.

    Attributes:
        owner: its name, another one for each supervisor of each process.
        linked: whether the store is reached.
    """

    def __init__(
        self, sharing: Sharing, circuits: Mapping[str, Circuit], link_changed: LinkChanged
    ) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.linked = False
        self._sharing = sharing
        self._circuits = circuits
        self._link_changed = link_changed
        self._known = Known()
        clock = StoreClock()
        self._reader = Reader(self.owner, clock, sharing.lease)
        self._errands = Errands(self.owner, sharing, self._known, clock, self._reader)
        self._hearing = Hearing(circuits, self._known, clock, self._reader)
        self._said: bool | None = None  # what was told of the link
        self._scope: anyio.CancelScope | None = None  # once it runs; there may be no event loop yet
        self._joined = anyio.Event()
        self._leaves = False

    @property
    def members(self) -> int:
        """How many there are, this one included, as far as is known; 0 if the link is lost."""
        return self._hearing.members if self.linked else 0

    def share(self, circuit: Circuit) -> None:
        """Share a new circuit, whose actor has not had a turn, if it is one that is shared."""
        if not self._sharing.shares(circuit.name):
            return
        machine = SharedMachine(circuit.policy, circuit.machine.seed)
        machine.terms.counts = self._sharing.together is not None
        machine.warm_up(circuit.time())
        if circuit.policy.initial_state in BY_HAND:  # the fleet knows whether it is open
            machine.begin(circuit.time())
        circuit.begin_with(machine)
        record = self._known.of(circuit.name)
        if record is not None:
            order(circuit, self._reader.adopt(record, circuit.time()))

    def tell(self, circuit: Circuit, told: ToFleet) -> None:
        """Take what a circuit tells the fleet; it neither waits nor fails."""
        if self.linked:
            self._errands.add(circuit, told)
        elif isinstance(told, Asked | Probed) and told.number:
            order(circuit, Decide(circuit.time(), told.number))

    def force(self, circuit: Circuit, state: CircuitState) -> None:
        """Set a circuit's state by hand, here and for all.

        Raises:
            RuntimeError: the circuit is not shared, or the store cannot be reached.
        """
        if not is_shared(circuit):
            raise RuntimeError(f"circuit {circuit.name!r} is not shared, so it is only here")
        if not self.linked:
            raise RuntimeError(f"the fleet of circuit {circuit.name!r} cannot be reached now")
        force(circuit, state, everywhere=True)

    def forget(self, circuit: Circuit) -> None:
        """Give back the tokens of a circuit that has ended."""
        self._errands.give_back(circuit)

    async def wait_until_joined(self) -> None:
        """Wait until it is known how things stand, for a short time at most."""
        with anyio.move_on_after(JOIN_WITHIN):
            await self._joined.wait()

    def leave(self, loop: EventLoop) -> None:
        """End, as soon as the tokens of all circuits, which have ended, are given back."""
        self._leaves = True
        if self._scope is None:
            return  # its task, which has had no turn, ends at once
        if self.linked and loop.runs_here():
            self._scope.deadline = loop.clock.time() + LEAVE_WITHIN
            self._errands.leave()
        else:
            self._scope.cancel()

    async def run(self, loop: EventLoop) -> None:
        """Be a member until it is to leave; runs in a task of its own."""
        wait = FIRST_WAIT
        with anyio.CancelScope() as self._scope:
            try:
                while not self._leaves:
                    began = loop.clock.time()
                    error = await self._serve_once(loop)
                    lasted = loop.clock.time() - began
                    await self._cut_off(error)
                    del error  # which would keep what it came from
                    wait = FIRST_WAIT if lasted > LONGEST_WAIT else min(2 * wait, LONGEST_WAIT)
                    await self._pause(wait)
            finally:
                self.linked = False

    async def _pause(self, seconds: float) -> None:
        """Wait for so long at most, before another try; who leaves makes none."""
        if not self._leaves:
            await anyio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  (not in step)

    async def _serve_once(self, loop: EventLoop) -> Exception | None:
        """Be linked to the store for as long as that goes well, and return what has ended it."""
        try:
            async with self._sharing.connect(self.owner) as link:
                await self._serve(link, loop)
        except BaseException as error:
            if isinstance(error, Exception):
                return _cause_of(error)
            urgent = next(_not_to_be_mended(error))
            if isinstance(urgent, KeyboardInterrupt) and raise_later(loop, urgent):
                return None
            raise urgent from None
        return None

    async def _serve(self, link: Link, loop: EventLoop) -> None:
        async with anyio.create_task_group() as group:
            self.linked = True  # what circuits tell meanwhile is kept
            await self._hearing.begin(link, loop)
            self._joined.set()
            self._said = True
            self._link_changed(self.members, None)
            group.start_soon(self._hearing.listen, link, loop)
            group.start_soon(self._hearing.give_signs, link, loop)
            group.start_soon(self._errands.renew)
            group.start_soon(self._errands.count)
            await self._errands.run(link, group)
            await link.beat(0.0)
            group.cancel_scope.cancel()

    async def _cut_off(self, error: Exception | None) -> None:
        """Let every circuit decide alone; say why, once."""
        self.linked = False
        self._errands.clear()
        if self._said is not False and error is not None:
            self._said = False
            self._link_changed(0, error)
        half_open = [each for each in shared_among(self._circuits) if each.machine.probing]
        for circuits in slices(half_open):
            for circuit in circuits:
                order(circuit, Decide(circuit.time()))
            await checkpoint()


def _cause_of(error: Exception) -> Exception:
    """Return the first error in a group of them, as clients leave their blocks with."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


def _not_to_be_mended(error: BaseException) -> Iterator[BaseException]:
    """Return what else than an `Exception` is in an error: cancellations first."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        leaves = [leaf for each in group.exceptions for leaf in _not_to_be_mended(each)]
        yield from sorted(leaves, key=lambda leaf: not is_cancellation(leaf))
    elif not isinstance(error, Exception):
        yield error
