"""Circuits in web applications, by ASGI 3 alone: no framework is imported. On asyncio and trio.

lifespan   a supervisor that lives as long as the application
refusals   a refused call, answered: 503, and when to come back
circuits   an application that shows all circuits, and one; documents, what it shows as JSON
page       the same as a page for people; actions, what they may do to circuits by hand
streams    the same as server-sent events; history, the latest events that there were
health     whether the process lives, and whether it is ready
replies    whole answers, problems among them, and what an application of ours answers to
protocol   the types of ASGI, and what is read from a scope
"""

from supervisor.integrations.asgi.circuits import CircuitsApp
from supervisor.integrations.asgi.health import Liveness, Readiness
from supervisor.integrations.asgi.lifespan import SupervisorMiddleware
from supervisor.integrations.asgi.refusals import RefusalMiddleware, problem_of
from supervisor.integrations.asgi.replies import Reply

__all__ = [
    "CircuitsApp",
    "Liveness",
    "Readiness",
    "RefusalMiddleware",
    "Reply",
    "SupervisorMiddleware",
    "problem_of",
]
