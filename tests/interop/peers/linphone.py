"""linphonec as a telephone of another family: belle-sip's SIP and mediastreamer's media behind a console to type at.

It has no sound card: it says a tone out of one file and records what it hears into another. Left alone it offers Opus
first, then speex and G.711.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from . import tones
from .process import PATIENCE, PHONE_HOST, Child, free_port, program

TONE = 60.0  # s, which is longer than any call here
HEADER = 44  # bytes before the samples of its recording, which it writes when the call is over

SETTINGS = """
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port=0
bind_address={host}
default_proxy=-1
contact=sip:{user}@{host}:{port}
use_ipv6=0
media_encryption={encryption}

[rtp]
audio_rtp_port={media}
bind_address={host}

[net]
firewall_policy=1
nat_address={host}

[video]
automatically_initiate=0
automatically_accept=0
"""


class Linphone:
    """A telephone with the address `uri`, which takes calls to any user part.

    answer: "auto" takes every call at once, "manual" rings until told otherwise. encryption "srtp" offers RTP/SAVP
    with keys in the SDP (RFC 4568) and takes both.
    """

    def __init__(
        self,
        user: str = "benvolio",
        *,
        tone: float = 440.0,
        answer: Literal["auto", "manual"] = "auto",
        encryption: Literal["none", "srtp"] = "none",
        transport: Literal["udp", "tcp"] = "udp",
        host: str = PHONE_HOST,
    ) -> None:
        self.user = user
        self.tone = tone
        port = free_port(4)
        self.host = f"{host}:{port}"
        self.uri = f"sip:{user}@{self.host}" + ("" if transport == "udp" else f";transport={transport}")
        self.proxy = self.uri.replace(f"{user}@", "")
        self._settings = SETTINGS.format(
            user=user,
            host=host,
            port=port,
            udp=port if transport == "udp" else 0,
            tcp=port if transport == "tcp" else 0,
            media=port + 2,
            encryption=encryption,
        )
        self._options = ["-a"] if answer == "auto" else []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linphone-")))
            (self.directory / ".local/share/linphone").mkdir(parents=True)  # it does not start SIP without its database
            (self.directory / "linphonerc").write_text(self._settings)
            tone = tones.sine(self.tone, TONE, 8000)
            tones.write_wav(self.directory / "tone.wav", tone, 8000)
            # -d 6 prints every SIP message, for whoever has to find out why a test failed.
            command = [program("linphonec", package="linphone-cli"), "-d", "6", "-c", "linphonerc", *self._options]
            environment = {"HOME": str(self.directory), "LC_ALL": "C"}
            self.child = await stack.enter_async_context(
                Child(
                    f"linphone of {self.user}",
                    command,
                    environment=environment,
                    directory=self.directory,
                    commanded=True,
                )
            )
            await self.child.line("Creating listening point")
            for line in ("soundcard use files", "play tone.wav", "record heard.wav"):
                self.child.command(line)
            await self.child.line("Using wav files")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)

    # --- doing

    def dial(self, uri: str) -> None:
        self.child.command(f"call {uri}")

    def accept(self) -> None:
        self.child.command("answer")

    def hang_up(self) -> None:
        """Ends the call, cancels it, or refuses it."""
        self.child.command("terminate")

    def hold(self) -> None:
        self.child.command("pause")

    def resume(self) -> None:
        self.child.command("resume")

    def transfer(self, call: int, other: int) -> None:
        """Connects the far ends of two calls, which it counts from 1, by a REFER with Replaces."""
        self.child.command(f"transfer {call} --to-call {other}")

    def press(self, digits: str) -> None:
        """RFC 4733 events, one digit after the other."""
        self.child.command(digits)

    # --- finding out

    async def was_told(self, answer: str) -> None:
        """Waits for a response with this status line's end, "486 Busy Here"."""
        await self.child.line(f"^SIP/2.0 {answer}$")

    async def rings(self) -> None:
        """Waits until somebody calls."""
        await self.child.line("to LinphoneCallIncomingReceived")

    async def ended(self, timeout: float = PATIENCE) -> str:
        """Waits for the end of the call; what it says of it: "ended", or "error" when it never began."""
        end = await self.child.line(r"Call \d+ with \S+ (ended|error)", timeout=timeout)
        return end[1]

    def profiles(self) -> list[str]:
        """The transport of the audio in every offer and answer that it heard or said: "RTP/AVP", "RTP/SAVP"."""
        return [line.split()[2] for line in self.child.lines if line.startswith("m=audio")]

    async def hears(self, frequency: float, seconds: float = 1.0, timeout: float = PATIENCE) -> None:
        """Waits until its own recording holds this tone for so long."""
        try:
            await tones.heard(frequency, self.recording, seconds, timeout)
        except AssertionError as error:
            raise AssertionError(f"{self.user} {error}") from None

    def recording(self) -> tuple[tones.Samples, int]:
        """What it heard: samples and rate. Only its log says the rate while the call is up."""
        file = self.directory / "heard.wav"
        rates = (re.search(r"-->MSFileRec:\S+ from rate \[\d+\] to rate \[(\d+)\]", line) for line in self.child.lines)
        rate = next((int(found[1]) for found in rates if found), 0)
        if not rate or not file.exists():
            return tones.silence()
        body = file.read_bytes()[HEADER:]
        return np.frombuffer(body[: len(body) // 2 * 2], "<i2") / 32768, rate
