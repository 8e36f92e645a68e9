"""SIPp as the far side of a trunk: it challenges our calls, refuses them, or calls itself; what it hears it sends back.

The scenarios are files of their own in scenarios/. `{words}` in braces are put in before SIPp reads one, because its
own -key reaches neither status lines nor actions.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any, Self

from .process import PATIENCE, TRUNK_HOST, Child, PeerError, free_port, leaves, program, witnesses

SCENARIOS = Path(__file__).parent / "scenarios"


class Sipp:
    """One run of one scenario, for one call, by `transport`: udp, or tcp over one connection.

    `target` (host:port) is where a calling scenario calls; `words` are what stands in braces in its file.
    """

    def __init__(
        self, scenario: str, *, target: str = "", address: str = TRUNK_HOST, transport: str = "udp", **words: str
    ) -> None:
        self.name = f"messages of sipp, {scenario}"
        self.port = free_port()
        self._address = address
        self.host = f"{address}:{self.port}"
        self._scenario = scenario
        self._target = target
        self._transport = transport
        self._words = words
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sipp-")))
            text = (SCENARIOS / f"{self._scenario}.xml").read_text()
            for word, value in self._words.items():
                text = text.replace(f"{{{word}}}", value)
            scenario = self._directory / "scenario.xml"
            scenario.write_text(text)
            command = [
                *(program("sipp", package="sip-tester"), "-sf", scenario, "-m", "1", "-nostdin", "-timeout", "180"),
                *(
                    "-i",
                    self._address,
                    "-p",
                    str(self.port),
                    "-mi",
                    self._address,
                    "-mp",
                    str(free_port(4)),
                    "-rtp_echo",
                ),
                *("-t", {"udp": "u1", "tcp": "t1"}[self._transport]),
                *("-trace_msg", "-message_file", self._directory / "messages"),
                *("-trace_err", "-error_file", self._directory / "errors"),
                *([self._target] if self._target else []),
            ]
            # SIPp wants a terminal for its screens, and is content when there is none.
            self.child = await stack.enter_async_context(
                Child("sipp", command, directory=self._directory, environment={"TERM": "dumb"})
            )
            await self.child.binds(self.port)
            self._stack = stack.pop_all()
        witnesses.append(self)
        return self

    async def __aexit__(self, *problem: Any) -> None:
        leaves(self, *problem)
        await self._stack.__aexit__(*problem)

    def tail(self) -> str:
        """The last messages of the call."""
        return f"{self._read('errors')}\n{self.messages[-4000:]}"

    async def done(self, timeout: float = PATIENCE) -> None:
        """Waits until the call went through the whole scenario. Raises PeerError if it did not."""
        if code := await self.child.wait(timeout):
            raise PeerError(f"sipp {self._scenario} ended with {code}\n{self.tail()}")

    @property
    def messages(self) -> str:
        """Every SIP message that it sent or received."""
        return self._read("messages")

    def _read(self, name: str) -> str:
        file = self._directory / name
        return file.read_text(errors="replace") if file.exists() else ""


def digest_is_right(messages: str, *, method: str, username: str, password: str) -> bool:
    """Whether the first Proxy-Authorization in these messages is what RFC 7616 wants, reckoned here once more."""
    header = re.findall(r"^Proxy-Authorization:\s*Digest\s+(.*)$", messages, re.MULTILINE | re.IGNORECASE)[0]
    given = {
        key.lower(): quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)
    }
    algorithm = {"MD5": "md5", "SHA-256": "sha256"}[given.get("algorithm", "MD5").upper()]

    def digest(*parts: str) -> str:
        return hashlib.new(algorithm, ":".join(parts).encode()).hexdigest()

    secret = digest(username, given["realm"], password)
    request = digest(method, given["uri"])
    middle = [given["nc"], given["cnonce"], given["qop"]] if "qop" in given else []
    expected = digest(secret, given["nonce"], *middle, request)
    return bool(given["username"] == username and given["response"] == expected)
