"""Guards for the models and tools of pydantic-ai.

Agents run on asyncio only. A model that is asked without one, by `pydantic_ai.direct`, runs on trio
as well.

    model     models that go by a circuit, and the first healthy one of several
    streams   how their responses in parts are read
    toolset   toolsets whose refusals are told to the model
    errors    what errors count as
"""

from supervisor.integrations.pydantic_ai.errors import CircuitOpenError, is_failure
from supervisor.integrations.pydantic_ai.model import MOVE_ON, CircuitModel, FirstHealthyModel
from supervisor.integrations.pydantic_ai.toolset import CircuitTools, CircuitToolset

__all__ = [
    "MOVE_ON",
    "CircuitModel",
    "CircuitOpenError",
    "CircuitTools",
    "CircuitToolset",
    "FirstHealthyModel",
    "is_failure",
]
