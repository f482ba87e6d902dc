"""One outage, one lesson: circuits that supervisors share through a store.

Knows the machine, the circuit and the event loop; what is said to the fleet, and what a fleet says.
Its modules are imported by those that share.

    choice   what circuits are shared through, and which of them
    member   a supervisor's task in the fleet; hearing, what it hears; errands, what it asks
    outbox   in which order; known, what it remembers; clocks, what time it is at the store
    failures  what members count together
    translation  what circuits and a store tell each other
    store    what a fleet has in common: records, news, steps; the protocol of a link
    rules    what each step makes of what is held of a circuit: held, that
    space    all that a store in memory holds
    in_turn  how several threads use that, without a lock
    memory   the store that joins the event loops of one process
    redis    the store that joins processes and machines; lua, its rules once more
    wire     what it sends and reads; address, where it is; clients, of coredis
"""

from typing import TYPE_CHECKING

from supervisor.lazily import lazy
from supervisor.sharing.choice import Sharing

if TYPE_CHECKING:
    from supervisor.sharing.hearing import LIFE
    from supervisor.sharing.member import Member
    from supervisor.sharing.memory import MemorySharing
    from supervisor.sharing.redis import RedisSharing
    from supervisor.sharing.store import (
        NEVER,
        Epoch,
        Forcing,
        Link,
        News,
        Record,
        Sight,
        Standing,
    )
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "supervisor.sharing.hearing": ("LIFE",),
            "supervisor.sharing.member": ("Member",),
            "supervisor.sharing.memory": ("MemorySharing",),
            "supervisor.sharing.redis": ("RedisSharing",),
            "supervisor.sharing.store": (
                "NEVER",
                "Epoch",
                "Forcing",
                "Link",
                "News",
                "Record",
                "Sight",
                "Standing",
            ),
        },
    )

__all__ = [
    "LIFE",
    "NEVER",
    "Epoch",
    "Forcing",
    "Link",
    "Member",
    "MemorySharing",
    "News",
    "Record",
    "RedisSharing",
    "Sharing",
    "Sight",
    "Standing",
]
