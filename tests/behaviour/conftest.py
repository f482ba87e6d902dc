"""What is told here is told of circuits, not of the files that settings come from."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_files(known_settings: None) -> None:
    """A first call has no turns of its own for reading them, in a thread."""
