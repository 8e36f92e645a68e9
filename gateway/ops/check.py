"""`gateway check`: what is wrong with a configuration, for people; the verdict for scripts.

dialplan/office.toml:12: 'carier' is no trunk, did you mean 'carrier'?
gateway.toml:31: warning: 0.0.0.0 can be reached from elsewhere, and there is no password
1 fault, 1 warning
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway import configfile
from gateway.config import Config
from gateway.errors import ConfigurationError, Fault
from gateway.media import g722, opus


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything found; `config` is None when there is a fault among it."""

    faults: tuple[Fault, ...]
    config: Config | None

    @property
    def ok(self) -> bool:
        return self.config is not None

    def lines(self) -> Iterator[str]:
        """One line per fault and a last one that sums up."""
        yield from map(str, self.faults)
        warnings = sum(fault.warning for fault in self.faults)
        counts = [_count(len(self.faults) - warnings, "fault"), _count(warnings, "warning")]
        said = ", ".join(count for count in counts if count)
        if self.config is None:
            yield said
            return
        plan = self.config.plan
        parts = ((plan.trunks, "trunk"), (plan.routes, "route"), (plan.inbound, "inbound rule"))
        things = [_count(len(part), noun) for part, noun in parts]
        things += [_count(len(plan.prices), "price table"), _count(len(plan.budgets), "budget")]
        things.append(_count(len(plan.examples), "proved example"))
        yield "ok: " + ", ".join(thing for thing in [*things, said] if thing)


def check(path: Path, environ: Mapping[str, str] | None = None) -> Verdict:
    """Reads a configuration with all that it names, and proves the example rows."""
    try:
        found = configfile.read(path, environ)
    except ConfigurationError as error:
        return Verdict(error.faults, None)
    return Verdict((*found.warnings, *_missing(path, found)), found)


def _missing(path: Path, found: Config) -> Iterator[Fault]:
    """The codecs' libraries that this machine lacks, where the gateway's own processes are to transcode."""
    for there, package, codec in ((opus.available(), "libopus0", "Opus"), (g722.available(), "libspandsp2", "G722")):
        if found.media_engine == "embedded" and not there:
            yield Fault(path.name, 0, f"{codec} cannot be transcoded without the package {package}", warning=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""
