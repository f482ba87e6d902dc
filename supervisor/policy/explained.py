"""What `help(Policy)` says of the fields, whose docstrings are lost at run time."""

from __future__ import annotations

import textwrap
from dataclasses import fields

from supervisor.policy.keywords import MEANINGS
from supervisor.policy.policy import KINDS, Policy


def _explained() -> str:
    lines = [(Policy.__doc__ or "").rstrip(), "", "Args:"]
    for field in fields(Policy):
        default = field.default.__name__ if isinstance(field.default, type) else field.default
        meaning = MEANINGS.get(field.name)  # a new field has none before `make generated`
        text = f"{field.name}: {meaning} [{KINDS[field.name].range}; {default}]"
        lines += textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(lines)


Policy.__doc__ = _explained()
