"""Work that several threads ask for, one at a time."""

from __future__ import annotations

import threading

import pytest

from supervisor.sharing.in_turn import InTurn


def test_at_once_if_nobody_is_at_work() -> None:
    done: list[int] = []
    in_turn = InTurn()
    in_turn.do(lambda: done.append(1))
    in_turn.do(lambda: done.append(2))
    assert done == [1, 2]


def test_whoever_is_at_work_does_the_rest_as_well() -> None:
    """Work that asks for work comes first to its own end."""
    done: list[str] = []
    in_turn = InTurn()

    def work() -> None:
        in_turn.do(lambda: done.append("inner"))
        done.append("outer")

    in_turn.do(work)
    assert done == ["outer", "inner"]


def test_another_thread_leaves_its_work_and_goes_on() -> None:
    done: list[str] = []
    in_turn = InTurn()
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(60)
        done.append("long")

    thread = threading.Thread(target=in_turn.do, args=[work])
    thread.start()
    assert begun.wait(60)
    in_turn.do(lambda: done.append("short"))
    assert done == []
    may_end.set()
    thread.join(60)
    assert done == ["long", "short"]


def test_who_is_interrupted_gives_the_turn_back() -> None:
    done: list[str] = []
    in_turn = InTurn()

    def work() -> None:
        in_turn.do(lambda: done.append("later"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_turn.do(work)
    assert done == []
    in_turn.do(lambda: done.append("now"))
    assert done == ["later", "now"]


def test_a_forked_process_begins_anew() -> None:
    done: list[str] = []
    in_turn = InTurn()
    in_turn.do(in_turn.begin_anew)
    in_turn.do(lambda: done.append("here"))
    assert done == ["here"]


def test_many_threads_lose_nothing() -> None:
    """What is counted without any lock is right in the end."""
    in_turn = InTurn()
    threads, times = 4, 2000
    count = [0]

    def add() -> None:
        before = count[0]
        count[0] = before + 1

    def ask() -> None:
        for _ in range(times):
            in_turn.do(add)

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert count == [threads * times]
