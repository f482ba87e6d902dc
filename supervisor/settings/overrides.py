"""Settings of single circuits, and of families of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ConfigDict, ValidationInfo, field_validator

from supervisor.policy import KINDS, OPTIONAL
from supervisor.settings.fields import FieldsOfOne
from supervisor.settings.notation import read_field
from supervisor.settings.provenance import Origin, Setting, Traced, is_table, value_of

FIELDS: Final = tuple(KINDS)


class CircuitOverrides(Traced, FieldsOfOne):
    """Settings of one circuit: any field of `Policy`.

    A field that is left out is inherited from the global settings. None is the same, but for
    fields that are None in a `Policy` to say that a part of it is not there.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    @field_validator("*", mode="plain")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        value = value_of(value)
        return None if value is None else read_field(info.field_name, value)

    def given(self) -> dict[str, Setting]:
        """Return the fields that are not inherited."""
        return {
            field: setting
            for field, setting in super().given().items()
            if setting.value is not None or field in OPTIONAL
        }


OVERRIDE: Final = re.compile(
    rf"BINDU_CB_CIRCUITS__[A-Z0-9]+(_[A-Z0-9]+)*__({'|'.join(FIELDS)})", re.IGNORECASE
)


def told(values: Mapping[str, Any], origin: Callable[..., Origin]) -> dict[str, Any]:
    """Return what code or a file gives, each value with its origin."""

    def own(name: str, values: object) -> object:
        if isinstance(values, CircuitOverrides):
            values = {field: getattr(values, field) for field in values.model_fields_set}
        if not is_table(values):
            return Setting(values, origin("circuits", name))
        return {
            field: Setting(value, origin("circuits", name, field))
            for field, value in values.items()
        }

    told: dict[str, Any] = {key: Setting(value, origin(key)) for key, value in values.items()}
    circuits = values.get("circuits")
    if is_table(circuits):
        told["circuits"] = {name: own(name, values) for name, values in circuits.items()}
    return told
