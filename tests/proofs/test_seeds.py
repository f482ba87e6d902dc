"""What the proofs try, and when they try something else."""

from __future__ import annotations

from tests.support.seeds import Seeds


def test_without_a_seed_of_the_run_they_are_the_same() -> None:
    """`make test` tries the same in every run."""
    assert list(Seeds("test", run=None, effort=1)(3)) == [0, 1, 2]
    assert list(Seeds("test", run=None, effort=1)(2, first=100)) == [100, 101]


def test_the_seed_of_the_run_decides() -> None:
    """Given again it leads to the same, and each test has seeds of its own."""

    def drawn(test: str, run: int, effort: int = 2) -> list[int]:
        return list(Seeds(test, run, effort)(5))

    assert len(set(drawn("one", 1))) == 10
    assert drawn("one", 1) == drawn("one", 1)
    assert drawn("one", 1)[:5] == drawn("one", 1, effort=1)
    assert not set(drawn("one", 1)) & set(drawn("another", 1) + drawn("one", 2))


def test_a_failure_says_by_which_luck() -> None:
    """How to try again, and which of the seeds it was."""
    seeds = Seeds("test", run=7, effort=3)
    assert str(Seeds("test", run=None, effort=1, latest=3)) == "seed 3"
    for seed in seeds(1):
        assert str(seeds) == f"seed {seed}; again: --seed 7 --effort 3"
