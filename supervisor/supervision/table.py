"""The circuits of one supervisor, by name: asked for, read, and recorded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Unpack

from supervisor.arguments import check_count, check_name
from supervisor.circuit import Circuit, Statistics, catch_up, statistics_of
from supervisor.guard import CircuitBreaker
from supervisor.policy import (
    Policy,
    PolicyFields,
    check_policy_type,
    fields_of,
    given_policy,
)
from supervisor.recording import Recording
from supervisor.supervision.conflicts import check_policy
from supervisor.supervision.publishing import Publisher


class CircuitTable(Mapping[str, CircuitBreaker]):
    """A mapping from names to breakers, which is no other one's equal."""

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._publisher = Publisher()

    def circuit(
        self, name: str, policy: Policy | None = None, **fields: Unpack[PolicyFields]
    ) -> CircuitBreaker:
        """Return the breaker of that name, of a circuit that is started if there is none yet.

        Args:
            name: 1 to 255 printable characters.
            policy: the policy of the circuit; None: the default one.
            fields: fields of `Policy`, which go before those of `policy`.

        Raises:
            PolicyConflictError: the circuit exists, and what is given here differs from its
                policy: a field, or one of `policy`.
            RuntimeError: the supervisor's block has not been entered yet, or has been left.
            TooManyCircuitsError: there are `max_circuits`, and none may be retired for it.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        """
        asked = given_policy("Supervisor.circuit", policy, fields, ("name", "policy"))
        name = check_name(name)
        circuit = self._circuits.get(name)
        if circuit is None:
            self._start(name, asked)
        else:
            given = fields if policy is None else fields_of(asked)
            check_policy(circuit, {field: getattr(asked, field) for field in given})
        return self._breakers[name]

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet; see `circuit`."""
        check_policy_type(policy)
        name = check_name(name)
        circuit = self._circuits.get(name) or self._start(name, policy)
        if circuit.latest_policy != policy:
            check_policy(circuit, fields_of(policy))
        return circuit

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        return self._circuits.get(name)

    def statistics(self) -> dict[str, Statistics]:
        """Return the figures of every circuit that there is as of now, by name."""
        return {name: statistics_of(circuit) for name, circuit in self._circuits.items()}

    def record(self, name: str, limit: int = 10_000) -> Recording:
        """Record what the circuit's actor is told from now on; an earlier recording ends.

        Args:
            name: the circuit's name.
            limit: entries, 1 or more, that are kept at least: messages, turns and transitions. At
                most twice as many are, and those of one turn.

        Raises:
            KeyError: there is no such circuit.
            RuntimeError: this is not the thread of the supervisor's event loop.
            TypeError, ValueError: `limit` is of the wrong type or out of range.
        """
        circuit = self._circuits[name]
        check_count("limit", limit)
        self._catch_up(circuit)
        recording = Recording(name, circuit.machine, limit, partial(self._catch_up, circuit))
        others = (each for each in circuit.observers if not isinstance(each, Recording))
        circuit.observers = (*others, recording)
        return recording

    @abstractmethod
    def _start(self, name: str, policy: Policy) -> Circuit:
        """Start a circuit of that name, of which there is none yet."""

    def _catch_up(self, circuit: Circuit) -> None:
        circuit.check_thread()
        catch_up(circuit, self._publisher.publish_change)

    def _add(self, circuit: Circuit) -> None:
        self._circuits[circuit.name] = circuit
        self._breakers[circuit.name] = CircuitBreaker.of(circuit)

    def _remove(self, circuit: Circuit) -> None:
        del self._circuits[circuit.name]
        del self._breakers[circuit.name]

    def __eq__(self, other: object) -> bool:
        return self is other  # whatever circuits they have

    def __hash__(self) -> int:
        return id(self)

    def __getitem__(self, name: str) -> CircuitBreaker:
        return self._breakers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._breakers)

    def __len__(self) -> int:
        return len(self._breakers)


CircuitTable.circuit.__qualname__ = "Supervisor.circuit"  # errors name what users call
