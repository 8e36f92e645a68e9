"""Call records that are kept long enough are deleted, with their attempts and ladders, while the gateway runs.

A few hundred calls in a transaction, a pause between two, in another thread: whoever writes or asks meanwhile waits for
one of them at most. What the database will not do now is done an hour later.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database import engine_for, short
from gateway.storage.records import attempts, calls, ladders

log = structlog.get_logger()

EVERY = 3600.0  # s
BATCH = 200  # calls in a transaction
PAUSE = 0.2  # s between two


class Retention:
    """Of the database at `url` (SQLAlchemy's form): calls that began more than `days` days ago go. Methods are for the
    event loop's thread. Raises GatewayError for a URL that cannot be used.
    """

    def __init__(self, url: str, days: int, *, pause: float = PAUSE) -> None:
        self._engine = engine_for(url)
        self._days = days
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Delete what is old now, and from time to time."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Harmless when it does not run."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._engine.dispose)

    async def _run(self) -> None:
        while True:
            await self.sweep(datetime.now(UTC))
            await asyncio.sleep(EVERY)

    async def sweep(self, now: datetime) -> int:
        """How many calls were deleted. A database that is away is left for later, with a line in the log."""
        gone = 0
        try:
            while batch := await asyncio.to_thread(self._delete, now - timedelta(days=self._days)):
                gone += batch
                await asyncio.sleep(self._pause)
        except SQLAlchemyError as error:
            log.warning("old call records stay for now", error=short(error))
        if gone:
            log.info("old call records deleted", calls=gone, days=self._days)
        return gone

    def _delete(self, before: datetime) -> int:
        with self._engine.begin() as connection:
            if not inspect(connection).has_table(calls.name):
                return 0
            old = select(calls.c.number, calls.c.id).where(calls.c.offered < before).order_by(calls.c.offered)
            # Several gateways may do this: each takes what the others do not (PostgreSQL; SQLite has one writer).
            found = connection.execute(old.limit(BATCH).with_for_update(skip_locked=True)).all()
            if found:
                ids = [row.id for row in found]
                connection.execute(delete(attempts).where(attempts.c.call.in_(ids)))
                connection.execute(delete(ladders).where(ladders.c.call.in_(ids)))
                connection.execute(delete(calls).where(calls.c.number.in_([row.number for row in found])))
        return len(found)
