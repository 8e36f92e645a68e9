"""A dialplan that changes while calls go on: on SIGHUP, and where `[dialplan] watch` says so when its files change; so
do certificates, which are renewed.

    changed ──> everything is read and proved anew ──┬─ a fault ──> it is told, and the plan stays as it is
                                                     └─ none ─────> the new plan, for calls that begin from now on

Files are read in a thread, so that calls go on meanwhile; the plan is exchanged between two events of theirs, at once.
Only the dialplan and what TLS needs are exchanged. What else differs in gateway.toml needs a restart, and is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import structlog

from gateway.config import Config
from gateway.configfile import read
from gateway.errors import ConfigurationError

log = structlog.get_logger()

LOOK_EVERY = 2.0  # s between looks at the files
_EXCHANGED = frozenset(
    {"plan", "warnings", "dialplan_patterns", "dialplan_watch", "sip_certificate", "sip_key", "sip_ca"}
)

Stamp = Mapping[Path, tuple[int, int, int]]


class Reloader:
    """Reads the configuration again. `adopt` gets one without faults; `told` whether it had none, for metrics."""

    def __init__(self, config: Config, adopt: Callable[[Config], None], told: Callable[[bool], None]) -> None:
        self.config = config
        self._adopt = adopt
        self._told = told
        self._asked = asyncio.Event()
        self._reading = asyncio.Lock()

    def ask(self) -> None:
        """For signals: reload() as soon as answer() gets to it."""
        self._asked.set()

    async def answer(self) -> None:
        """Reload whenever it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def reload(self) -> bool:
        """All or nothing. False when there were faults, which the log names by file and line."""
        async with self._reading:
            return await self._reload()

    async def _reload(self) -> bool:
        try:
            found = await asyncio.to_thread(read, self.config.path)
        except ConfigurationError as error:
            for fault in error.faults:
                log.error("dialplan not reloaded", fault=str(fault))
            self._told(False)
            return False
        for warning in found.warnings:
            log.warning("configuration", fault=str(warning))
        if stale := unexchanged(self.config, found):
            log.warning("these settings need a restart", settings=stale)
        self.config = found
        self._adopt(found)
        self._told(True)
        log.info("dialplan reloaded", routes=len(found.plan.routes), inbound=len(found.plan.inbound))
        return True

    async def watch(self) -> None:
        """Reload whenever a file has changed and then rested for one look, until cancelled."""
        known = seen = stamp(self.config)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = stamp(self.config)
            if now != known and now == seen:  # whoever writes it has finished
                await self.reload()
                known = stamp(self.config)
            seen = now


def files_of(config: Config) -> tuple[Path, ...]:
    """What a reload reads: gateway.toml, the dialplan's files, and our and the trunks' files for TLS."""
    ours = (config.sip_certificate, config.sip_key, config.sip_ca)
    trunks = (Path(name) for t in config.plan.trunks.values() for name in (t.ca, t.certificate, t.key) if name)
    return (config.path, *config.dialplan_files, *(path for path in ours if path), *trunks)


def stamp(config: Config) -> Stamp:
    """What tells one state of the files from another."""
    found: dict[Path, tuple[int, int, int]] = {}
    for path in files_of(config):
        try:
            about = path.stat()
        except OSError:
            continue
        found[path] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found


def unexchanged(old: Config, new: Config) -> list[str]:
    """The settings that differ and are not taken over."""
    names = (field.name for field in fields(Config) if field.name not in _EXCHANGED)
    return [name for name in names if getattr(old, name) != getattr(new, name)]
