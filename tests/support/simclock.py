"""A clock that tests own: time moves only when they say so, and sleepers wake in order."""

import asyncio
import heapq
import itertools

SETTLE_ROUNDS = 20


class SimClock:
    """Call it for monotonic seconds; hand `sleep` to code that waits; move time with `advance`."""

    def __init__(self, now: float = 1000.0, unix_offset: float = 1.79e9) -> None:
        self.now = now
        self._unix_offset = unix_offset
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def unix(self) -> float:
        return self._unix_offset + self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time, waking each sleeper at its own instant."""
        until = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self.now = until
        await self.settle()

    async def advance_to_next(self) -> None:
        """Move time to the next sleeper, for those who only want to see how something ends."""
        await self.settle()
        if self._sleepers:
            await self.advance(max(0.0, self._sleepers[0][0] - self.now))

    async def settle(self) -> None:
        """Let tasks run that are ready."""
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(0)
