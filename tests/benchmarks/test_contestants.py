"""The contestants of the benchmarks, as far as they are installed."""

import asyncio
from functools import partial

import pytest

from benchmarks.contestants import Setup, bound, contestants

CONTESTANTS = contestants()


class BackendError(Exception):
    """What the guarded function fails with."""


async def succeed(x, *, y):
    return x + y


async def fail():
    raise BackendError


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name != "bare"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # peers that ask for naive times
def test_lets_a_success_through_and_refuses_after_two_failures(name):
    contestant = CONTESTANTS[name]

    async def main():
        async with contestant.open(Setup(failure_threshold=2)) as guard:
            assert await guard(succeed, 1, y=2) == 3
            assert await (bound(guard, succeed) or partial(guard, succeed))(1, y=2) == 3
        # Another circuit: to a window in time, failures after a success are not all there is.
        async with contestant.open(Setup("other", failure_threshold=2)) as guard:
            for _ in range(2):
                with pytest.raises((BackendError, *contestant.refusals)):
                    await guard(fail)
            with pytest.raises(contestant.refusals):
                await guard(succeed, 1, y=2)

    asyncio.run(main())


def test_bare_is_the_call_itself():
    async def main():
        async with CONTESTANTS["bare"].open(Setup()) as guard:
            assert await guard(succeed, 1, y=2) == 3
            assert bound(guard, succeed) is succeed

    asyncio.run(main())
