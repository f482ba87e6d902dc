"""What is kept in order and never changes: another version costs little, and shares nearly all.

A machine is copied at each turn and at each read. So neither may take longer for the many that
wait, and what has gone wrong half-way in one copy must not be seen in another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeVar, overload

Item = TypeVar("Item", bound="tuple[Any, ...]")
Key = TypeVar("Key")
Value = TypeVar("Value")

PIECE: Final = 64
"""Items that a piece holds at most; those in another one than what has changed are shared."""


class Ordered(Sequence[Item]):
    """Different items, the least of them first."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, items: Iterable[Item] = ()) -> None:
        every = sorted(items)
        self._size = len(every)
        self._pieces: tuple[tuple[Item, ...], ...] = tuple(
            tuple(every[start : start + PIECE]) for start in range(0, len(every), PIECE)
        )

    def having(self, item: Item) -> Ordered[Item]:
        """Return these with one more."""
        pieces = self._pieces
        if pieces and pieces[-1][-1] < item:  # as nearly always, since times and numbers grow
            last = pieces[-1]
            more = ((*last, item),) if len(last) < PIECE else (last, (item,))
            return self._of((*pieces[:-1], *more), self._size + 1)
        number = min(self._piece_of(item), max(0, len(self._pieces) - 1))
        piece = self._pieces[number] if self._pieces else ()
        at = bisect_left(piece, item)
        grown = (*piece[:at], item, *piece[at:])
        half = PIECE // 2
        new = (grown,) if len(grown) <= PIECE else (grown[:half], grown[half:])
        return self._with(number, new, self._size + 1)

    def without(self, item: Item) -> Ordered[Item]:
        """Return these but for one of them."""
        number = self._piece_of(item)
        piece = self._pieces[number]
        at = bisect_left(piece, item)
        rest = piece[:at] + piece[at + 1 :]
        return self._with(number, (rest,) if rest else (), self._size - 1)

    def from_on(self, item: Any) -> Item | None:
        """Return the first that is not less than `item`, or None."""
        number = self._piece_of(item)
        if number == len(self._pieces):
            return None
        piece = self._pieces[number]
        return piece[bisect_left(piece, item)]

    def _piece_of(self, item: Any) -> int:
        return bisect_left(self._pieces, item, key=_last)

    def _with(self, number: int, new: tuple[tuple[Item, ...], ...], size: int) -> Ordered[Item]:
        return self._of((*self._pieces[:number], *new, *self._pieces[number + 1 :]), size)

    def _of(self, pieces: tuple[tuple[Item, ...], ...], size: int) -> Ordered[Item]:
        twin = object.__new__(type(self))
        twin._pieces = pieces
        twin._size = size
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ordered) and tuple(self) == tuple(other)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._pieces)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if index in (0, -1) and self._pieces:
            return self._pieces[index][index]
        return tuple(self)[index]


class OrderedMap(Mapping[Key, Value]):
    """Values by keys, the least of them first.

    Attributes:
        size: how many there are, where even `len` would take too long.
    """

    __slots__ = ("_items", "size")

    def __init__(self, items: Iterable[tuple[Key, Value]] = ()) -> None:
        self._items = Ordered(items)
        self.size = len(self._items)

    def having(self, key: Key, value: Value) -> OrderedMap[Key, Value]:
        """Return these with the value of a new key."""
        return self._of(self._items.having((key, value)))

    def without(self, key: Key) -> OrderedMap[Key, Value]:
        """Return these but for one of the keys."""
        return self._of(self._items.without((key, self[key])))

    def _of(self, items: Ordered[tuple[Key, Value]]) -> OrderedMap[Key, Value]:
        twin = object.__new__(type(self))
        twin._items = items
        twin.size = len(items)
        return twin

    def __getitem__(self, key: Key) -> Value:
        found = self._items.from_on((key,))
        if found is None or found[0] != key:
            raise KeyError(key)
        return found[1]

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return self.size


class Times(Mapping[Key, float]):
    """Times by keys, of which the last one is known at once."""

    __slots__ = ("_by_key", "_in_order")

    def __init__(self, times: Iterable[tuple[Key, float]] = ()) -> None:
        self._by_key = OrderedMap(times)
        self._in_order = Ordered((time, key) for key, time in self._by_key.items())

    @property
    def last(self) -> float:
        """The last of the times; there must be some."""
        return self._in_order[-1][0]

    def having(self, key: Key, time: float) -> Times[Key]:
        """Return these with another time of that key."""
        others = self.without(key)
        return self._of(
            others._by_key.having(key, time),
            others._in_order.having((time, key)),
        )

    def without(self, key: Key) -> Times[Key]:
        """Return these but for that of a key, if it has one."""
        time = self._by_key.get(key)
        if time is None:
            return self
        return self._of(self._by_key.without(key), self._in_order.without((time, key)))

    def after(self, time: float) -> Times[Key]:
        """Return these but for those up to a time."""
        left = self
        while left and (first := left._in_order[0])[0] <= time:
            left = left.without(first[1])
        return left

    def _of(self, by_key: OrderedMap[Key, float], order: Ordered[tuple[float, Key]]) -> Times[Key]:
        twin = object.__new__(type(self))
        twin._by_key, twin._in_order = by_key, order
        return twin

    def __getitem__(self, key: Key) -> float:
        return self._by_key[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return self._by_key.size


def _last(piece: Sequence[Item]) -> Item:
    return piece[-1]
