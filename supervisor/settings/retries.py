"""Settings of the retry decorators: `BINDU_RETRY_*`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_settings import SettingsConfigDict

from supervisor.settings.error import SettingsError
from supervisor.settings.files import ENCODING
from supervisor.settings.notation import read_count, read_seconds, read_switch
from supervisor.settings.sources import SettingsGroup
from supervisor.settings.unset import DOTENV

Count = Annotated[int, PlainValidator(read_count)]
Seconds = Annotated[float, PlainValidator(read_seconds)]
Switch = Annotated[bool, PlainValidator(read_switch)]


class RetrySettings(SettingsGroup):
    """Settings of the retry decorators, `BINDU_RETRY_*`; waits are seconds, more than 0.

    Attributes:
        client_errors: whether they try again after what well-known clients raise, too, and not
            after each `OSError`; see `is_retryable_error`.

    Raises:
        SettingsError: a variable is misspelt, or a value is out of range.
    """

    model_config = SettingsConfigDict(
        env_prefix="BINDU_RETRY_",
        env_file=DOTENV,
        env_file_encoding=ENCODING,
        extra="ignore",
        validate_assignment=True,
    )
    prefix = "BINDU_RETRY_"

    worker_max_attempts: Count = 3
    worker_min_wait: Seconds = 1.0
    worker_max_wait: Seconds = 10.0
    storage_max_attempts: Count = 5
    storage_min_wait: Seconds = 0.5
    storage_max_wait: Seconds = 5.0
    scheduler_max_attempts: Count = 3
    scheduler_min_wait: Seconds = 1.0
    scheduler_max_wait: Seconds = 8.0
    api_max_attempts: Count = 4
    api_min_wait: Seconds = 1.0
    api_max_wait: Seconds = 15.0
    client_errors: Switch = True

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for operation in ("worker", "storage", "scheduler", "api"):
            low, high = (getattr(self, f"{operation}_{end}_wait") for end in ("min", "max"))
            if low > high:
                raise SettingsError(
                    f"{self.variable(f'{operation}_min_wait')} must not exceed"
                    f" {self.variable(f'{operation}_max_wait')}, got {low!r} and {high!r}"
                )
