"""Who is subscribed to whom, so that a restart of the gateway loses no contact list.

One row for each user and contact that have anything between them; what that is, the XMPP room puts into words.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Column, Connection, MetaData, String, Table, and_, delete, insert, or_, select

from gateway.storage.database import Database, storable

log = structlog.get_logger()

QUEUE = 10_000  # changes that wait for the database
MOST = 100_000  # rows that are read at the start

Change = tuple[str, str, str]  # user, contact, the ties between them in words; none: it is over

metadata = MetaData()

# A bare JID has at most 2,047 octets (RFC 7622 §3.1); an index of two such columns is more than some databases have.
_LONGEST = 1024

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("user", String(_LONGEST), primary_key=True),
    Column("contact", String(_LONGEST), primary_key=True),
    Column("ties", String(64), nullable=False),
)


class Subscriptions:
    """The subscriptions of the database at `url` (SQLAlchemy's form). All methods are for the event loop's thread.

    Raises GatewayError for a URL that cannot be used. A change that is not stored is logged: the user's server will
    bring it back with its next probe.
    """

    def __init__(self, url: str, *, capacity: int = QUEUE, retry: float = 1.0) -> None:
        self._database: Database[Change] = Database(
            url, metadata, _write, _drop, name="subscriptions", capacity=capacity, retry=retry
        )

    async def start(self) -> list[Change]:
        """Open the database, start the writer; what an earlier run has kept. Raises GatewayError when that fails."""
        await self._database.start()
        question = select(subscriptions.c.user, subscriptions.c.contact, subscriptions.c.ties).limit(MOST)

        def ask(connection: Connection) -> list[Change]:
            return [(user, contact, ties) for user, contact, ties in connection.execute(question)]

        return await self._database.read(ask)

    async def stop(self) -> None:
        """Write what is left, within a few seconds, and close the database. Harmless when it does not run."""
        await self._database.stop()

    def put(self, user: str, contact: str, ties: str) -> None:
        """Keep what is between these bare JIDs from now on. Never blocks and never raises."""
        if max(len(user), len(contact)) <= _LONGEST:
            self._database.put((storable(user), storable(contact), ties))
        else:
            _drop((user, contact, ties), "an address is too long")


def _write(connection: Connection, batch: Sequence[Change]) -> None:
    """The last word on each pair takes the place of what was there. No database's own upsert: there are several."""
    latest = {(user, contact): ties for user, contact, ties in batch}
    table = subscriptions.c
    connection.execute(
        delete(subscriptions).where(or_(*(and_(table.user == u, table.contact == c) for u, c in latest)))
    )
    rows = [{"user": user, "contact": contact, "ties": ties} for (user, contact), ties in latest.items() if ties]
    if rows:
        connection.execute(insert(subscriptions), rows)


def _drop(change: Change, why: str) -> None:
    user, contact, ties = change
    log.error("subscription not stored", user=user[:200], contact=contact[:200], ties=ties, why=why)
