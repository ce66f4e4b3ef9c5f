"""A dictionary that holds a bounded number of things of a bounded size together. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """At most ``count`` values of at most ``size`` bytes together; whoever puts one in says what it takes."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._items: dict[K, tuple[V, int]] = {}
        self._taken = 0

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[V]:
        return iter([value for value, _ in self._items.values()])

    def has_room(self, size: int) -> bool:
        """Whether one more of ``size`` bytes may be put. The first may always be: a line has a bound of its own."""
        many = len(self._items)
        return not many or (many < self._count and self._taken + size <= self._size)

    def put(self, key: K, value: V, size: int) -> None:
        self._items[key] = (value, size)
        self._taken += size

    def put_for_oldest(self, key: K, value: V, size: int) -> None:
        """As ``put``, and what has been here longest goes, if there is no room."""
        while not self.has_room(size):
            self.take(next(iter(self._items)))
        self.put(key, value, size)

    def take(self, key: K) -> V | None:
        """The value, which is here no longer; None if there is none."""
        found = self._items.pop(key, None)
        if found is None:
            return None
        self._taken -= found[1]
        return found[0]

    def clear(self) -> list[V]:
        """Everything, which is here no longer."""
        values = list(self)
        self._items.clear()
        self._taken = 0
        return values
