from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys

import pytest

from gateway.errors import MediaError, NgError
from gateway.media import ng
from gateway.media.process import listen_address
from gateway.media.wire import pack
from gateway.media.worker import WorkerSettings


@pytest.mark.slow
async def test_a_worker_that_loses_its_parent_ends_by_itself(ports: tuple[int, int]) -> None:
    commands, their_commands = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    events, their_events = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fds = (their_commands.fileno(), their_events.fileno())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.media.process",
        "--settings",
        json.dumps(pack(WorkerSettings("127.0.0.1", None, *ports))),
        "--fds",
        f"{fds[0]},{fds[1]}",
        stdin=asyncio.subprocess.PIPE,
        pass_fds=fds,
    )
    client = ng.NgClient(commands)
    with their_commands, their_events, events:
        assert await client.request("ping", patience=10.0) == {"result": "pong", "calls": 0}
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does when the parent dies
        assert await process.wait() == 0
    client.close()


@pytest.mark.slow
def test_a_worker_imports_neither_xmpp_nor_storage_nor_operations() -> None:
    """What is not imported takes no memory in each of the workers."""
    script = "import sys, gateway.media.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "gateway.media.webrtcleg" in loaded
    assert not {"slixmpp", "sqlalchemy", "gateway.ops", "gateway.sip", "gateway.xmpp", "pydantic"} & set(loaded)


@pytest.mark.slow
async def test_a_worker_that_stands_alone_speaks_ng_over_udp(ports: tuple[int, int]) -> None:
    settings = json.dumps(pack(WorkerSettings("127.0.0.1", None, *ports)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.media.process", "--settings", settings, "--ng", "udp:127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    line = re.sub(r"\x1b\[[0-9;]*m", "", (await process.stderr.readline()).decode())
    port = int(line.rpartition("port=")[2])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    client = ng.NgClient(sock)
    assert await client.request("ping") == {"result": "pong"}
    with pytest.raises(NgError, match="Unrecognized command"):
        await client.request("allocate", {"call": "c", "leg": "a", "kind": "rtp"})
    client.close()
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.parametrize("where", ["2223", "udp:127.0.0.1", "udp:127.0.0.1:99999", "tcp:127.0.0.1:2223", "udp::1:2223"])
def test_a_place_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(MediaError):
        listen_address(where)


def test_a_place_may_be_of_either_family() -> None:
    assert listen_address("udp:127.0.0.1:2223") == ("127.0.0.1", 2_223)
    assert listen_address("udp:[::1]:2223") == ("::1", 2_223)


@pytest.mark.slow
def test_a_worker_writes_its_lines_as_its_parent_does(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "gateway.media.process", "--ng", "nonsense", "--settings", '{"json_log": true}']
    assert subprocess.run(command, check=False).returncode == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "media worker cannot start"
