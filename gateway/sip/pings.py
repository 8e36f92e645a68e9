"""OPTIONS to every trunk, now and then: who is up and who is down, before a call has to find out.

Pings.start(trunks) ──> one task each ── OPTIONS ──> Probe ── changed ──> on_change(name, up?)

An OPTIONS is no call: nobody waits for it, and its answer is worth something only while it is fresh. So silence counts
after SILENCE seconds, and not after the 32 of timer F (Asterisk's qualify_timeout is 3 s).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from gateway.addresses import SipUri
from gateway.sip.application import Application
from gateway.sip.headers import NameAddr, bracketed
from gateway.sip.probe import Probe, State
from gateway.sip.targets import SILENCE

log = structlog.get_logger()

OnChange = Callable[[str, bool], None]


class Pings:
    """`domain` is our host in From; `on_change` is told of every trunk that comes up (True) or goes down."""

    def __init__(self, app: Application, domain: str, on_change: OnChange = lambda name, up: None) -> None:
        self._app = app
        self._own = NameAddr(f"sip:{bracketed(domain)}")
        self._on_change = on_change
        self._probes: dict[str, Probe] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, trunks: Mapping[str, SipUri], interval: float = 60.0) -> None:
        """Ask these from now on: name and proxy."""
        for name, proxy in trunks.items():
            self.forget(name)
            probe = self._probes[name] = Probe(self._app.now(), interval)
            self._tasks[name] = self._app.loop.create_task(self._keep_asking(name, proxy, probe))

    def forget(self, name: str) -> None:
        """Ask this one no more; nothing is known of it then."""
        self._probes.pop(name, None)
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    async def stop(self) -> None:
        tasks = tuple(self._tasks.values())
        for name in tuple(self._tasks):
            self.forget(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def states(self) -> Mapping[str, State]:
        return {name: probe.state for name, probe in self._probes.items()}

    def is_down(self, name: str) -> bool:
        """Whether a trunk is known to be down; one that is not asked, or did not answer yet, is not."""
        probe = self._probes.get(name)
        return probe is not None and probe.state is State.DOWN

    async def _keep_asking(self, name: str, proxy: SipUri, probe: Probe) -> None:
        peer = await self._app.connect(proxy, trusted=True)
        while True:
            if probe.deadline is not None:
                await asyncio.sleep(probe.deadline - self._app.now())
            probe.asked()
            dialog = await peer.request(
                "OPTIONS", from_details=self._own, to_details=NameAddr(str(proxy)), patience=SILENCE
            )
            response = dialog.last
            await dialog.close()
            if response is None:
                continue
            if probe.answered(response.status, response.told, self._app.now(), local=response.local):
                up = probe.state is State.UP
                log.info("sip trunk", trunk=name, state=probe.state.value, problem=probe.problem)
                self._on_change(name, up)
