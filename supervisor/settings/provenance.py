"""Where settings come from: each value keeps the layer, the variable or key, and the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self, TypeGuard

from pydantic import BaseModel, PrivateAttr, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from supervisor.policy import KINDS


class Layer(IntEnum):
    """Where settings come from; a later one goes before an earlier one."""

    DEFAULT = 0
    FILE = 1
    DOTENV = 2
    ENVIRONMENT = 3
    CODE = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: the name of the variable or key, and the file that it is in."""

    layer: Layer
    name: str = ""
    file: str = ""

    def __str__(self) -> str:
        match self.layer:
            case Layer.DEFAULT | Layer.CODE:
                return self.layer.name.lower()
            case _:
                return f"{self.name} in {self.file}" if self.file else self.name

    @property
    def blamed(self) -> str:
        """What an error calls it: a variable is the same wherever it is set."""
        return str(self) if self.layer is Layer.FILE else self.name


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it comes from."""

    value: Any
    origin: Origin

    @property
    def given(self) -> bool:
        """Whether it comes from anywhere but the defaults."""
        return self.origin.layer is not Layer.DEFAULT


def value_of(given: object) -> object:
    """Return a value without where it comes from."""
    return given.value if isinstance(given, Setting) else given


@dataclasses.dataclass(slots=True)
class _Origins:
    """Where a model's values come from, which is nothing that models are compared by."""

    of: dict[str, Origin] = dataclasses.field(default_factory=dict[str, Origin], compare=False)


class Traced(BaseModel):
    """A model that takes settings for values, and remembers where they come from."""

    _origins: _Origins = PrivateAttr(default_factory=_Origins)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(values)
        if is_table(values):  # and not an assignment
            given = {name: it for name, it in values.items() if isinstance(it, Setting)}
            made._origins.of.update({name: it.origin for name, it in given.items()})
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self._origins.of.pop(name, None)

    def setting(self, field: str) -> Setting:
        """Return the value of a field, and where it comes from."""
        origin = Origin(Layer.DEFAULT)
        if field in self.model_fields_set:
            origin = self._origins.of.get(field, Origin(Layer.CODE))
        return Setting(getattr(self, field), origin)

    def given(self) -> dict[str, Setting]:
        """Return the fields of a policy that do not have their default."""
        return {field: self.setting(field) for field in KINDS if field in self.model_fields_set}


def is_table(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value has settings in it, by name."""
    return isinstance(value, Mapping)
