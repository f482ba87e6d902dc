"""Programs in the documents that need packages which are not everywhere."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from supervisor.testing import Backend
from tests.docs.documents import DOCUMENTS, Example, examples_of
from tests.docs.test_examples import fresh_logger, run_example
from tests.integrations.real.calls import BACK_OFF
from tests.integrations.real.servers import REAL_TIME, in_virtual_time
from tests.support.worlds import BACKENDS

ASYNCIO_ONLY: Final = (
    "aiohttp|asyncpg|grpc|langchain\\w*|litestar|psycopg\\w*|pydantic_ai|redis|sqlalchemy"
)
ON_ASYNCIO_ONLY: Final = re.compile(rf"^(?:from|import) ({ASYNCIO_ONLY})\b", re.MULTILINE)
__all__ = ["fresh_logger"]  # a fixture
WHAT_IS_THEIRS: Final = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # what a client leaves unclosed
)

EXAMPLES = [
    pytest.param(
        example,
        backend,
        id=f"{example}-{backend}",
        marks=[WHAT_IS_THEIRS] if example.asks_database else [],
    )
    for document in DOCUMENTS
    for example in examples_of(document)
    if example.needs_more and not example.is_job
    for backend in BACKENDS
    if backend != "trio" or not ON_ASYNCIO_ONLY.search(example.source)
]


@pytest.fixture
def fresh_sentry() -> Iterator[None]:
    """Leave nothing of an example to the next one that reports to Sentry."""
    yield
    sentry = sys.modules.get("sentry_sdk")
    if sentry is not None:
        sentry.get_global_scope().clear()
        sentry.get_global_scope().set_client(None)


@pytest.mark.parametrize(("example", "backend"), EXAMPLES)
def test_an_example_runs_and_prints_what_is_said(
    example: Example,
    backend: Backend,
    fresh_logger: None,
    fresh_sentry: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As those that need no more; their sockets are waited for."""
    if example.asks_database:
        monkeypatch.setattr(BACK_OFF, 300.0)
        run_example(example, REAL_TIME[backend], monkeypatch)
    else:
        run_example(example, in_virtual_time(backend), monkeypatch)
    gc.freeze()  # what it has imported is not looked through again after each of the others
    assert capsys.readouterr() == (example.prints, "")
