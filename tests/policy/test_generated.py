"""What follows from the fields of a policy is as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.generated import PARTS, ROOT, fields_written, generated

GENERATED = generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_is_up_to_date(path: Path) -> None:
    """`make generated` would change nothing."""
    assert path.read_text(encoding="utf-8") == GENERATED[path]


def test_every_field_has_its_part_in_the_documents() -> None:
    """Each stands in one of the tables."""
    shown = [name for names in PARTS.values() for name in names.split()]
    assert sorted(shown) == sorted(field.name for field in fields_written())
