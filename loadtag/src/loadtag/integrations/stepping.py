"""Serving something one step at a time: while an iterator of the app makes its next item, and not between.

A block around the whole iteration would not do: between two steps the server runs, perhaps for another request in the
same thread, and an iterator that nobody ends is closed by whoever happens to collect it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtag.context import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    from loadtag.context import Dark, Served


class Steps:
    """An iterator of the app, each step of which is served."""

    def __init__(self, items: Iterable[Any], served: Served | Dark | None) -> None:
        self._items = items
        self._iterator: Iterator[Any] | None = None
        self._served = served

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with serve(self._served):
            if self._iterator is None:
                self._iterator = iter(self._items)
            return next(self._iterator)

    def send(self, value: Any) -> Any:
        """Send something to a generator."""
        with serve(self._served):
            return self._items.send(value)  # type: ignore[attr-defined]

    def throw(self, *error: Any) -> Any:
        """Raise an error in a generator."""
        with serve(self._served):
            return self._items.throw(*error)  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the app's iterator, if it can be ended."""
        close = getattr(self._items if self._iterator is None else self._iterator, "close", None)
        if close is not None:
            with serve(self._served):
                close()


class AsyncSteps:
    """An asynchronous iterator of the app, each step of which is served."""

    def __init__(self, items: AsyncIterable[Any], served: Served | Dark | None) -> None:
        self._items = items
        self._iterator: AsyncIterator[Any] | None = None
        self._served = served

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        with serve(self._served):
            if self._iterator is None:
                self._iterator = self._items.__aiter__()
            return await self._iterator.__anext__()

    async def asend(self, value: Any) -> Any:
        """Send something to a generator."""
        with serve(self._served):
            return await self._items.asend(value)  # type: ignore[attr-defined]

    async def athrow(self, *error: Any) -> Any:
        """Raise an error in a generator."""
        with serve(self._served):
            return await self._items.athrow(*error)  # type: ignore[attr-defined]

    async def aclose(self) -> None:
        """End the app's iterator, if it can be ended."""
        close = getattr(self._items if self._iterator is None else self._iterator, "aclose", None)
        if close is not None:
            with serve(self._served):
                await close()
