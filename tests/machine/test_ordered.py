"""What is kept in order: versions of it are right, whatever becomes of others."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from supervisor.machine.ordered import Ordered, OrderedMap, Times


@pytest.mark.parametrize("seed", range(20))
def test_any_history(seed: int) -> None:
    """Each version holds what it is to hold, in order, also after others have come of it."""
    luck = random.Random(seed)
    versions: list[tuple[Ordered[tuple[float, int]], list[tuple[float, int]]]] = [(Ordered(), [])]
    for number in range(400):
        found, expected = luck.choice(versions[-5:])
        if expected and luck.random() < 0.4:
            item = luck.choice(expected)
            found, expected = found.without(item), [each for each in expected if each != item]
        else:
            item = (luck.choice((1.0, luck.random())), number)
            found, expected = found.having(item), sorted([*expected, item])
        versions.append((found, expected))
    for found, expected in versions:
        assert list(found) == expected
        assert len(found) == len(expected)
        assert bool(found) is bool(expected)
        assert found == Ordered(expected)
        assert hash(found) == hash(Ordered(expected))
        assert found != expected
        assert found[:1] == tuple(expected[:1])
        assert found[-1:] == tuple(expected[-1:])
        assert expected == [] or found[0] == expected[0]
        for key in (0.0, 0.5, 1.0, 2.0):
            after = next((item for item in expected if item >= (key,)), None)
            assert found.from_on((key,)) == after


@pytest.mark.parametrize("order", ["upwards", "downwards", "mixed"])
def test_what_is_not_touched_is_shared(order: str) -> None:
    """One more of many takes little room, in whatever order all have come and gone."""
    numbers = list(range(10_000))
    if order == "mixed":
        random.Random(1).shuffle(numbers)
    elif order == "downwards":
        numbers.reverse()
    many: Ordered[tuple[int]] = Ordered()
    for number in numbers:
        many = many.having((number,))
    for number in numbers[:5_000]:
        many = many.without((number,))
    tracemalloc.start()
    more = many.having((20_000,))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(more) == 5_001
    assert taken < 5_000


def test_values_by_keys() -> None:
    """A map finds what it has by its keys alone: its values need not compare."""
    empty: OrderedMap[int, object] = OrderedMap()
    some = empty.having(3, object).having(1, int).having(2, str)
    assert list(some.items()) == [(1, int), (2, str), (3, object)]
    assert (some[2], some.get(0), some.get(4)) == (str, None, None)
    assert (2 in some, 4 in some) == (True, False)
    assert list(some.without(2)) == [1, 3]
    assert (len(some), len(some.without(2)), bool(empty)) == (3, 2, False)
    assert dict(empty) == {}
    with pytest.raises(KeyError):
        some.without(4)


@pytest.mark.parametrize("seed", range(20))
def test_times(seed: int) -> None:
    """They are those of a dictionary, also after other versions have come of them."""
    luck = random.Random(seed)
    versions: list[tuple[Times[int], dict[int, float]]] = [(Times(), {})]
    for number in range(300):
        found, expected = luck.choice(versions[-5:])
        key = luck.randrange(number + 1)
        match luck.randrange(4):
            case 0:
                found, expected = found.without(key), {k: expected[k] for k in expected if k != key}
            case 1:
                now = luck.random() / 2
                found, expected = found.after(now), {k: t for k, t in expected.items() if t > now}
            case _:
                time = luck.choice((1.0, luck.random(), float("inf")))
                found, expected = found.having(key, time), {**expected, key: time}
        versions.append((found, expected))
    for found, expected in versions:
        assert found == expected
        assert list(found) == sorted(expected)
        assert len(found) == len(expected)
        assert expected == {} or found.last == max(expected.values())
        assert found == Times(expected.items())
