"""baresip as a telephone: it says a tone, records what it hears and is driven over its JSON control connection.

It runs with the configuration shipped in deploy/baresip/; ports, tone and account are put in front of it, because
baresip takes the first of two equal keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from . import tones
from .process import HOST, PATIENCE, PHONE_HOST, Child, PeerError, free_port, program

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "baresip" / "config"

Event = dict[str, Any]


@dataclass(frozen=True)
class Credentials:
    """PEM files: what a telephone shows over TLS, and whose certificates it believes."""

    certificate: Path
    key: Path
    ca: Path


class Baresip:
    """A telephone with the address `uri`; it hears only requests for its own user part.

    answer: "auto" takes every call at once, "manual" rings until told otherwise. codecs are baresip's names, in order
    of preference. encryption by keys in the SDP: "srtp" offers them beside RTP/AVP, "srtp-mand" with RTP/SAVP and
    takes no call without. `video` is a module with a codec, "vp8" or "vp9": then it has a camera, which shows colours,
    and a screen that nobody sees. TLS needs `credentials`. With an `account`, a SIP URI, it registers there by way of
    `proxy`, with this password.
    """

    def __init__(
        self,
        user: str = "romeo",
        *,
        tone: float = 440.0,
        answer: Literal["auto", "manual"] = "auto",
        codecs: tuple[str, ...] = ("PCMU/8000/1", "PCMA/8000/1"),
        transport: Literal["udp", "tcp", "tls"] = "udp",
        proxy: str | None = None,
        host: str = PHONE_HOST,
        encryption: Literal["", "srtp", "srtp-mand"] = "",
        credentials: Credentials | None = None,
        account: str | None = None,
        password: str = "",
        video: str = "",
    ) -> None:
        self.user = user
        self._video = video
        self.tone = tone
        self._listening = free_port(4)  # it listens for TLS on the next one
        self.port = self._listening + (transport == "tls")
        self._address = f"[{host}]" if ":" in host else host
        self.host = f"{self._address}:{self.port}"
        self.proxy = f"sip:{self.host}" + ("" if transport == "udp" else f";transport={transport}")
        self._credentials = credentials
        suffix = "" if transport == "udp" else f";transport={transport}"
        self.uri = f"sip:{user}@{self.host}{suffix}"
        self.events: list[Event] = []
        registered = f"regint={600 if account else 0}"
        parts = [f"<{account or self.uri}>", f"answermode={answer}", f"audio_codecs={','.join(codecs)}", "ptime=20"]
        parts += [registered, f"auth_pass={password}"] if password else [registered]
        if proxy:
            parts.append(f'outbound="sip:{proxy}{suffix}"')
        if encryption:
            parts.append(f"mediaenc={encryption}")
        self._account = ";".join(parts)
        self._control_port = self._listening + 2
        self._changed = asyncio.Condition()
        self._responses: dict[str, asyncio.Future[Event]] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="baresip-")))
            self._configure()
            # -s prints every SIP message, for whoever has to find out why a test failed.
            command = [program("baresip", package="baresip-core"), "-f", self.directory, "-s"]
            self.child = await stack.enter_async_context(Child(f"baresip of {self.user}", command))
            await self.child.listens(self._control_port)
            reader, self._writer = await asyncio.open_connection(HOST, self._control_port)
            stack.callback(self._writer.close)
            listener = asyncio.create_task(self._listen(reader))
            stack.callback(listener.cancel)
            await self.child.line("baresip is ready")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)

    # --- doing

    async def dial(self, uri: str) -> None:
        await self.command("dial", uri)

    async def accept(self) -> None:
        await self.command("accept")

    async def hang_up(self) -> None:
        """Ends the call, cancels it, or refuses it as busy."""
        await self.command("hangup")

    async def mute(self) -> None:
        """From now on it says nothing in the call that is up (and, told again, its tone)."""
        await self.command("mute")

    async def press(self, digits: str) -> None:
        """RFC 4733 events, one digit after the other."""
        for digit in digits:
            await self.command("sndcode", digit)
            await asyncio.sleep(0.25)  # the key is held this long: telephones have no event for it

    async def command(self, name: str, parameters: str = "") -> Event:
        token = f"{name}-{len(self._responses)}"
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._responses[token] = answer
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._writer.write(b"%d:%b," % (len(text), text))
        response: Event = await asyncio.wait_for(answer, PATIENCE)
        return response

    # --- finding out

    async def event(self, kind: str, *, after: int = 0, timeout: float = PATIENCE) -> Event:
        """The first event of this type ("CALL_RINGING", "CALL_ESTABLISHED", "CALL_CLOSED") from number `after` on."""

        def found() -> Event | None:
            return next((event for event in self.events[after:] if event["type"] == kind), None)

        result: Event = await self._until(found, f"no {kind}", timeout)
        return result

    @property
    def digits(self) -> str:
        """The keys that the far side pressed, as they came by RFC 4733."""
        return "".join(event.get("param", "") for event in self.events if event["type"] == "CALL_DTMF_START")

    async def pressed(self, digits: str, timeout: float = PATIENCE) -> None:
        """Waits until the far side has pressed these."""
        await self._until(lambda: self.digits.endswith(digits), f"digits {digits!r} were not heard", timeout)

    async def hears(self, frequency: float, seconds: float = 1.0, timeout: float = PATIENCE) -> None:
        """Waits until its own recording of the newest call holds this tone for so long."""
        try:
            await tones.heard(frequency, self.recording, seconds, timeout)
        except AssertionError as error:
            raise AssertionError(f"{self.user} {error}\n{self.child.tail(60)}") from None

    async def sees(self, pictures: int = 10, timeout: float = PATIENCE) -> None:
        """Waits until it has decoded and shown so many pictures of the newest call."""
        last: Event = {}
        try:
            async with asyncio.timeout(timeout):
                while self._pictures(last) < pictures:
                    last = await self.command("video_debug")
                    await asyncio.sleep(0.2)  # it is asked, and tells nothing
        except TimeoutError:
            raise AssertionError(f"{self.user} was to see something: {last}\n{self.child.tail(60)}") from None

    @staticmethod
    def _pictures(debug: Event) -> int:
        found = re.search(r"vidisp: .* frames=(\d+)", str(debug.get("data", "")))
        return int(found[1]) if found else 0

    def recording(self) -> tuple[tones.Samples, int]:
        """What it heard in the newest call: samples and rate."""
        files = sorted(self.directory.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime_ns)
        return tones.read_wav(files[-1]) if files else tones.silence()

    # --- inside

    async def _until(self, found: Callable[[], Any], complaint: str, timeout: float) -> Any:
        try:
            async with asyncio.timeout(timeout), self._changed:
                while not (result := found()):
                    await self._changed.wait()
                return result
        except TimeoutError:
            seen = [(event["type"], event.get("param", "")) for event in self.events]
            raise PeerError(f"{self.user}: {complaint} in {seen}\n{self.child.tail(60)}") from None

    def _configure(self) -> None:
        shipped = CONFIGURATION.read_text()
        ours = {
            "sip_listen": f"{self._address}:{self._listening}",
            "net_interface": self._address.strip("[]"),
            "ctrl_tcp_listen": f"{HOST}:{self._control_port}",
            "audio_source": f"ausine,{self.tone:.0f}",
            "snd_path": self.directory,
            "module_path": _module_path(shipped),
        }
        if self._credentials is not None:
            proof = self.directory / "proof.pem"  # baresip wants the key and the certificate in one file
            proof.write_bytes(self._credentials.certificate.read_bytes() + self._credentials.key.read_bytes())
            ours |= {"sip_certificate": proof, "sip_cafile": self._credentials.ca}
        modules = ""
        if self._video:
            ours |= {"video_source": "fakevideo,nil", "video_display": "fakevideo,nil", "video_size": "320x240"}
            modules = f"\nmodule {self._video}.so\nmodule fakevideo.so\n"
        front = "".join(f"{key}\t{value}\n" for key, value in ours.items())
        (self.directory / "config").write_text(front + shipped + modules)
        (self.directory / "accounts").write_text(self._account + "\n")
        (self.directory / "contacts").write_text("")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(length)).decode(errors="replace"))
                await reader.readexactly(1)  # the netstring's comma
                if message.get("event"):
                    async with self._changed:
                        self.events.append(message)
                        self._changed.notify_all()
                elif (answer := self._responses.get(message.get("token", ""))) and not answer.done():
                    answer.set_result(message)


def _module_path(shipped: str) -> Path:
    """Where the distribution keeps baresip's modules; some say it with the machine's name in it."""
    match = re.search(r"^module_path\s+(\S+)", shipped, re.MULTILINE)
    usual = Path(match[1] if match else "/usr/lib/baresip/modules")
    places = [usual, *Path("/usr/lib").glob("*/baresip/modules"), Path("/usr/local/lib/baresip/modules")]
    for place in places:
        if (place / "ctrl_tcp.so").exists():
            return place
    raise PeerError(f"baresip's modules are in none of {', '.join(map(str, places))} (package baresip-core)")
