"""Programs in the documents that need packages of queues."""

from __future__ import annotations

import re
from typing import Final

import pytest

from supervisor.testing import Backend, virtual_time
from tests.docs.documents import DOCUMENTS, Example, examples_of
from tests.docs.test_examples import run_example
from tests.support.worlds import BACKENDS

ON_ASYNCIO_ONLY: Final = re.compile(r"^(?:from|import) (arq|taskiq)\b", re.MULTILINE)

EXAMPLES = [
    pytest.param(example, backend, id=f"{example}-{backend}")
    for document in DOCUMENTS
    for example in examples_of(document)
    if example.is_job
    for backend in BACKENDS
    if backend != "trio" or not ON_ASYNCIO_ONLY.search(example.source)
]


@pytest.mark.parametrize(("example", "backend"), EXAMPLES)
def test_an_example_runs_and_prints_what_is_said(
    example: Example,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As those that need no more."""
    run_example(example, virtual_time(backend), monkeypatch)
    assert capsys.readouterr() == (example.prints, "")
