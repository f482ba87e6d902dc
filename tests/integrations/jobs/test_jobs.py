"""A job that runs into its worker's timeout is cancelled: what its circuit hears of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitState, Supervisor
from supervisor.testing import virtual_time
from tests.support.worlds import BACKENDS

arq: Any = pytest.importorskip("arq.worker")
fakeredis: Any = pytest.importorskip("fakeredis")
streaq: Any = pytest.importorskip("streaq")
taskiq: Any = pytest.importorskip("taskiq")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # what the packages use is theirs
]

Ask = Callable[[], Awaitable[None]]
JOBS = 2


async def by_taskiq(ask: Ask, limit: float) -> None:
    """In memory, as its worker does it."""
    broker = taskiq.InMemoryBroker()
    job = broker.register_task(ask, "job", timeout=limit)
    await broker.startup()
    for _ in range(JOBS):
        result = await (await job.kiq()).wait_result()
        assert isinstance(result.error, TimeoutError)
    await broker.shutdown()


async def by_arq(ask: Ask, limit: float) -> None:
    """By its worker, on a Redis in memory that cannot tell of itself."""

    async def job(context: object) -> None:
        await ask()

    async def nothing(redis: object, log: object) -> None:
        """What it logs of Redis."""

    redis = arq.ArqRedis(connection_pool=fakeredis.FakeAsyncRedis().connection_pool)
    for _ in range(JOBS):
        await redis.enqueue_job("job")
    function = arq.func(job, name="job", timeout=limit, max_tries=1)
    worker = arq.Worker([function], redis_pool=redis, burst=True, handle_signals=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arq, "log_redis_info", nothing)
        await worker.main()
    assert (worker.jobs_complete, worker.jobs_failed) == (0, JOBS)
    await worker.close()


async def by_streaq(ask: Ask, limit: float) -> None:
    """By what its worker runs a job with, under the scope that it opens: its Redis needs
    functions, which none in memory has.
    """
    task = streaq.Worker().task(timeout=limit)(ask)
    for _ in range(JOBS):
        with anyio.move_on_after(task.timeout, shield=True) as scope:
            await task.runner()
        assert scope.cancelled_caught


QUEUES = {"arq": by_arq, "streaq": by_streaq, "taskiq": by_taskiq}


@pytest.fixture(
    params=[
        (queue, backend)
        for queue in QUEUES
        for backend in BACKENDS
        if backend != "trio" or queue == "streaq"
    ],
    ids="-".join,
)
def queue_and_backend(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Each package, on the event loops that it runs on."""
    queue, backend = request.param
    return queue, backend


@pytest.fixture
def anyio_backend(queue_and_backend: tuple[str, Any]) -> object:
    return virtual_time(queue_and_backend[1])


@pytest.fixture(autouse=True)
def quiet() -> None:
    """They log each job that fails."""
    for name in ("arq", "streaq", "taskiq"):
        logging.getLogger(name).setLevel("CRITICAL")


@pytest.mark.parametrize(
    ("policy", "failed", "state"),
    [
        ({}, 0, CircuitState.CLOSED),
        ({"failure_on_cancel": True}, JOBS, CircuitState.OPEN),
    ],
    ids=["by default", "failure_on_cancel"],
)
async def test_the_workers_own_timeout(
    queue_and_backend: tuple[str, Any], policy: dict[str, Any], failed: int, state: CircuitState
) -> None:
    """Counts as nothing by default."""
    queue, _ = queue_and_backend
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("mail", failure_threshold=JOBS, **policy)
        ended: list[str] = []

        @breaker
        async def ask() -> None:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                ended.append("cancelled")
                raise

        await QUEUES[queue](ask, 30)
        assert ended == ["cancelled"] * JOBS
        figures = breaker.statistics()
        assert (figures.cancelled, figures.failed) == (JOBS - failed, failed)
        assert (figures.state, figures.in_flight) == (state, 0)


async def test_a_timeout_of_the_calls_own(queue_and_backend: tuple[str, Any]) -> None:
    """Is a failure, and the job goes on."""
    queue, _ = queue_and_backend
    breaker = CircuitBreaker("mail", failure_threshold=9, timeout=10)

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await breaker.call(anyio.sleep_forever)
        await anyio.sleep_forever()

    await QUEUES[queue](ask, 30)
    assert breaker.failure_count == JOBS
