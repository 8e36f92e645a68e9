"""Headless Chromium with stanza.js in it: a client stack of which nothing was written here but the page's buttons.

Chromium is driven by the DevTools protocol over a pair of pipes (--remote-debugging-pipe: JSON, each message ended by a
zero byte). The page is served by an HTTP server of a few lines, bundled by esbuild from what npm installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..peers import tones
from ..peers.process import HOST, PATIENCE, Child, PeerError, leaves, program, witnesses

HERE = Path(__file__).parent
BUNDLE = HERE / "node_modules" / ".bundle"

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have a small /dev/shm
    # Nothing of Chromium's own may look for the Internet, where there is none.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    # The tests are on loopback, which WebRTC leaves out of its candidates.
    "--allow-loopback-in-peer-connection",
    # Nobody clicks here.
    "--autoplay-policy=no-user-gesture-required",
)

# Chromium reads commands from descriptor 3 and writes to descriptor 4.
_LAUNCH = "import os,sys; os.dup2(int(sys.argv[1]),3); os.dup2(int(sys.argv[2]),4); os.execv(sys.argv[3],sys.argv[3:])"


def installed() -> str:
    """Installs what package-lock.json names from the npm registry, once; npm itself."""
    lock, there = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    npm = program("npm", package="npm")
    with open(HERE / "package.json") as file:  # tests side by side install once
        fcntl.flock(file, fcntl.LOCK_EX)
        if not there.exists() or there.stat().st_mtime < lock.stat().st_mtime:
            _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            there.touch()
    return npm


def bundle() -> Path:
    """Bundles stanza.js and the page, once; the folder to serve."""
    npm, script = installed(), BUNDLE / "page.js"
    if not script.exists() or script.stat().st_mtime < (HERE / "page.js").stat().st_mtime:
        _run(npm, "run", "--silent", "build")
    (BUNDLE / "index.html").write_bytes((HERE / "index.html").read_bytes())
    return BUNDLE


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def _serve(folder: Path) -> Iterator[str]:
    handler = partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/index.html"
        finally:
            server.shutdown()
            thread.join()


class Browser:
    """One page in one Chromium, as the telephone of one user.

    async with Browser("juliet@shakespeare.lit", "secret", server.websocket, tone=440) as juliet:
        await juliet.do("call", "romeo%example.com@sip.shakespeare.lit/sip")
    """

    def __init__(self, jid: str, password: str, websocket: str, *, tone: float, resource: str = "browser") -> None:
        self.name = f"console of {jid}/{resource}"
        self.tone = tone
        self._login = (jid, password, websocket, tone, resource)
        self._stack = contextlib.AsyncExitStack()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session = ""
        self._number = 0
        self.console: list[str] = []

    async def __aenter__(self) -> Self:
        folder = await asyncio.to_thread(bundle)
        async with contextlib.AsyncExitStack() as stack:
            address = stack.enter_context(_serve(folder))
            await self._launch(stack)
            target = (await self._command("Target.createTarget", url=address))["targetId"]
            attached = await self._command("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            await self._command("Runtime.enable")
            await self._ready()
            await self.do("login", *self._login)
            self._stack = stack.pop_all()
        witnesses.append(self)
        return self

    async def __aexit__(self, *problem: Any) -> None:
        leaves(self, *problem)
        await self._stack.__aexit__(*problem)

    async def do(self, action: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        """Calls phone.action(…) in the page and waits for what it returns. See page.js for the actions."""
        expression = f"phone.{action}({', '.join(map(json.dumps, arguments))})"
        return await self._evaluate(expression, timeout)

    def tail(self) -> str:
        """Stanzas in and out, and stanza.js's complaints."""
        return "\n".join(self.console[-100:])

    async def hears(self, frequency: float, seconds: float = 1.0, timeout: float = PATIENCE) -> None:
        """Waits until the page has heard this tone for so long, in third parts of a second."""
        state = await self.do("connected", timeout=timeout)
        assert state == "connected", f"the browser's media is {state}"
        await self._listens(f"{frequency:.0f} Hz", partial(tones.has_tone, frequency), seconds, timeout)

    async def sees(self, pictures: int = 10, timeout: float = PATIENCE) -> dict[str, Any]:
        """Waits until the page has decoded so many pictures; what is known of them."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout):
                while found.get("framesDecoded", 0) < pictures:
                    found = await self.do("pictures")
                    await asyncio.sleep(0.2)  # statistics have no event
        except TimeoutError:
            raise AssertionError(f"the browser was to see {pictures} pictures: {found}") from None
        return found

    async def hears_key(self, key: str, timeout: float = PATIENCE) -> None:
        """Waits until the page has heard this key as its two tones, of which it can be sure in a third of a second."""
        await self._listens(f"the key {key}", partial(tones.has_key, key), 0.1, timeout)

    async def _listens(
        self, what: str, found: Callable[[tones.Samples, int], bool], seconds: float, timeout: float
    ) -> None:
        got, last = 0.0, tones.silence()
        try:
            async with asyncio.timeout(timeout):
                while got < seconds:
                    heard = await self.do("samples")
                    last = np.array(heard["samples"]), int(heard["rate"])
                    length = len(last[0]) / last[1]
                    got += length if found(*last) else 0
                    await asyncio.sleep(length)  # until the analyser holds other samples
        except TimeoutError:
            state = json.dumps(await self.do("state"), indent=1)
            raise AssertionError(f"the browser was to hear {what}: {tones.describe(*last)}\n{state}") from None

    # --- DevTools

    async def _launch(self, stack: contextlib.AsyncExitStack) -> None:
        profile = stack.enter_context(tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True))
        commands_out, commands_in = map(_high, os.pipe())
        answers_out, answers_in = map(_high, os.pipe())
        chromium = _chromium()
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium's own rule for root
        self.child = await stack.enter_async_context(
            Child(
                "chromium",
                [
                    *(sys.executable, "-c", _LAUNCH, str(commands_out), str(answers_in)),
                    *(chromium, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"),
                ],
                pass_fds=(commands_out, answers_in),
            )
        )
        os.close(commands_out)
        os.close(answers_in)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 26)
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers_out, "rb", 0)
        )
        stack.callback(reading.close)
        writing, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(commands_in, "wb", 0))
        stack.callback(writing.close)
        self._pipe = writing
        listener = asyncio.create_task(self._listen(reader))
        stack.callback(listener.cancel)

    async def _ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self._evaluate("'phone' in window", PATIENCE):
                await asyncio.sleep(0.02)

    async def _evaluate(self, expression: str, timeout: float) -> Any:
        answer = await self._command(
            "Runtime.evaluate", timeout, expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise AssertionError(f"{expression}: {thrown.get('description', answer['exceptionDetails'])}")
        return answer["result"].get("value")

    async def _command(self, method: str, timeout: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        self._pipe.write(json.dumps(message).encode() + b"\0")
        try:
            result = await asyncio.wait_for(answer, timeout)
        except TimeoutError:
            what = parameters.get("expression", method)
            raise AssertionError(f"the browser did not come back from {what}") from None
        if "error" in result:
            raise PeerError(f"{method}: {result['error']}")
        return dict(result["result"])

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await reader.readuntil(b"\0"))[:-1])
                if answer := self._answers.pop(message.get("id", 0), None):
                    if not answer.done():
                        answer.set_result(message)
                elif message.get("method") == "Runtime.consoleAPICalled":
                    words = (str(part.get("value", part.get("description", ""))) for part in message["params"]["args"])
                    self.console.append(" ".join(words))


def _high(descriptor: int) -> int:
    """The same file under a number that is not 3 or 4."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return high


def _chromium() -> str:
    if chosen := os.environ.get("CHROMIUM"):
        return chosen
    return program("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", package="chromium")
