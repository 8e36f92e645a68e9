"""`make demo`: one call each way between an XMPP user and a SIP telephone, proved by ear and shown as ladders.

Prosody, the gateway and baresip run with the files of this folder, on free ports of loopback. Each end says a tone that
is drawn anew, and the tone is looked for in what the other end recorded. Recordings and log stay in demo-run/.

    python -m deploy.demo [--mute caller|callee]        exit code 0 when every tone was found, else 1
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from tests.interop.client.client import Call, Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway, gateway_command
from tests.interop.peers.process import PeerError, witnesses
from tests.interop.peers.prosody import Prosody

ROOT = Path(__file__).parents[1]
RUN = ROOT / "demo-run"
ENOUGH = 2.0  # seconds of a tone
PATIENCE = 10.0  # seconds to hear them

Side = Literal["caller", "callee"]
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Finding:
    """How long a tone stands out in what somebody recorded."""

    listener: str
    speaker: str
    tone: float
    seconds: float

    @property
    def good(self) -> bool:
        return self.seconds >= ENOUGH

    def __str__(self) -> str:
        verdict = "[green]heard[/]" if self.good else "[red]NOT HEARD[/]"
        return f"  {self.listener} recorded {self.speaker}'s {self.tone:.0f} Hz for {self.seconds:4.1f} s: {verdict}"


async def talk(name: str, call: Call, phone: Baresip, juliet: Side, mute: Side | None) -> list[Finding]:
    """Both ends say their tones until both were heard, or nobody can hope for it any more; then what was recorded."""
    if mute == juliet:
        call.voice.mute()
    elif mute is not None:
        await phone.mute()
    ears = (call.voice.hears(phone.tone, ENOUGH, PATIENCE), phone.hears(call.client.tone, ENOUGH, PATIENCE))
    await asyncio.gather(*ears, return_exceptions=True)
    recordings = {"juliet": call.voice.recording(), "romeo": phone.recording()}
    for who, (samples, rate) in recordings.items():
        tones.write_wav(RUN / f"{name}-heard-by-{who}.wav", samples, rate)
    findings = [
        Finding("Juliet", "Romeo", phone.tone, tones.seconds_of(phone.tone, *recordings["juliet"])),
        Finding("Romeo", "Juliet", call.client.tone, tones.seconds_of(call.client.tone, *recordings["romeo"])),
    ]
    for finding in findings:
        console.print(str(finding))
    return findings


async def demo(mute: Side | None) -> bool:
    console.print("Starting Prosody, the gateway and a telephone (baresip)")
    async with Prosody() as prosody, Gateway(prosody) as gateway:
        await gateway.ready()
        user = prosody.account("juliet")
        async with Client(*user) as juliet, Baresip("romeo", tone=tones.draw(juliet.tone)) as phone:
            try:
                findings = await both_calls(juliet, phone, gateway, mute)
            except (AssertionError, PeerError) as error:
                console.print(f"[red]{type(error).__name__}:[/] {error}", markup=True)
                for witness in witnesses:
                    console.print(f"--- {witness.name}\n{witness.tail()}", markup=False)
                return False
    log = RUN / "gateway.log"
    log.write_text("\n".join(gateway.child.lines) + "\n")
    console.print()
    sys.stdout.flush()
    trace = await asyncio.create_subprocess_exec(gateway_command(), "trace", log)
    await trace.wait()
    console.print(f"\nRecordings and log: {RUN.relative_to(ROOT)}/")
    return all(finding.good for finding in findings)


async def both_calls(juliet: Client, phone: Baresip, gateway: Gateway, mute: Side | None) -> list[Finding]:
    contact = gateway.contact_of(phone.uri)
    console.print(f"\n[bold]XMPP to SIP:[/] juliet@shakespeare.lit calls {contact}")
    call = await juliet.call(contact)
    await call.answered()
    await phone.event("CALL_ESTABLISHED")
    findings = await talk("xmpp-to-sip", call, phone, "caller", mute)
    await call.hang_up()
    await phone.event("CALL_CLOSED")

    phone.events.clear()
    uri = gateway.sip_uri("juliet")
    console.print(f"\n[bold]SIP to XMPP:[/] {phone.uri} calls {uri}")
    await phone.dial(uri)
    call = await juliet.incoming()
    await call.accept()
    await phone.event("CALL_ESTABLISHED")
    findings += await talk("sip-to-xmpp", call, phone, "callee", mute)
    await phone.hang_up()
    await call.ended()
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description="Call a telephone, and be called by it.")
    parser.add_argument("--mute", choices=["caller", "callee"], help="let this end say nothing: the demo must fail")
    arguments = parser.parse_args()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir()
    passed = asyncio.run(demo(arguments.mute))
    console.print("[bold green]Every tone was heard.[/]" if passed else "[bold red]The demo failed.[/]")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
