"""Applications on loopback for the tests of programs: one that serves, one that calls."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from gateway.sip.application import UDP, Application, BaseDialplan, Contact, Dialog, Handler
from gateway.sip.transaction import Timers
from tests.sip.wire import SDP, Datagrams

QUICK = Timers(t1=0.02, t2=0.08, t4=0.05)
ROMEO = Contact.from_header("sip:romeo@127.0.0.1:5060")


class Dialplan(BaseDialplan):
    def __init__(self, **handlers: Handler) -> None:
        super().__init__()
        self.handlers = handlers

    async def resolve(self, *args: object, **kwargs: object) -> Handler | None:
        await super().resolve(*args, **kwargs)  # type: ignore[arg-type]
        return self.handlers.get(str(kwargs["method"]))


@contextlib.asynccontextmanager
async def serving(protocol: str = UDP, **handlers: Handler) -> AsyncIterator[tuple[Application, tuple[str, int]]]:
    app = Application(dialplan=Dialplan(**handlers), timers=QUICK)
    address = await app.run(protocol=protocol, local_addr=("127.0.0.1", 0))
    yield app, address
    await app.close()


@contextlib.asynccontextmanager
async def calling(**others: object) -> AsyncIterator[Application]:
    app = Application(timers=QUICK, **others)  # type: ignore[arg-type]
    await app.run(local_addr=("127.0.0.1", 0))
    yield app
    await app.close()


def to(address: tuple[str, int], user: str = "666") -> Contact:
    return Contact.from_header(f"sip:{user}@{address[0]}:{address[1]}")


async def invited(app: Application, peer: Datagrams, **others: object) -> tuple[Dialog, str]:
    far = await app.connect(("127.0.0.1", peer.port))
    dialog = await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=SDP, **others)  # type: ignore[arg-type]
    return dialog, await peer.receive("INVITE")
