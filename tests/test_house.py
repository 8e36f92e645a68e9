"""The one test that holds the house.

    ops > config > switchboard, bridge > xmpp | sip | media | storage > call > session | dialplan > addresses | reach
    > errors

1. Imports point downwards, and siblings never meet, inside functions and under TYPE_CHECKING too.
2. Every file that is not named as an edge is pure: no clock, no chance, no thread, no socket, no log.
3. Every source file has its test file, which imports it.
4. No `assert` in the gateway: it vanishes under -O, and what a peer sent is answered, never asserted.
5. Every source file's main rule, inverted, is noticed by its own test file (rows in tests/inversions/).

Each check takes the root of a tree and returns what is wrong there, so that it can be shown to fail.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Bottom up. Names in one string are one room; rooms of one level are siblings.
LEVELS = (
    ("errors",),
    ("addresses contacts", "reach"),
    ("session", "dialplan"),
    ("call",),
    ("xmpp", "sip", "media", "storage"),
    ("switchboard mediation outgoing routing junction line ledger notices trunks accounts bridge pictures",),
    ("config configfile settings",),
    ("ops __main__",),
)
ROOM = {name: (level, room) for level, rooms in enumerate(LEVELS) for room in rooms for name in room.split()}

# Where the gateway touches the world. Everything else is pure, a new file too, until it is named here.
EDGES = (
    "config.py",
    "configfile.py",
    "media/commands.py",
    "media/component.py",
    "media/embedded.py",
    "media/ice.py",
    "media/leg.py",
    "media/mux.py",
    "media/pace.py",
    "media/pairs.py",
    "media/process.py",
    "media/ng.py",
    "media/poller.py",
    "media/ports.py",
    "media/recorder.py",
    "media/rtpengine.py",
    "media/rtpengine_pool.py",
    "media/rtpleg.py",
    "media/speech.py",
    "media/video.py",
    "media/webrtcleg.py",
    "media/worker.py",
    "ops/",
    "sip/application.py",
    "sip/datagrams.py",
    "sip/dialogs.py",
    "sip/calleeleg.py",
    "sip/callerleg.py",
    "sip/leg.py",
    "sip/outbound.py",
    "sip/peer.py",
    "sip/pings.py",
    "sip/resolver.py",
    "sip/streams.py",
    "sip/tls.py",
    "sip/telephony.py",
    "sip/transport.py",
    "storage/",
    "accounts.py",
    "junction.py",
    "ledger.py",
    "notices.py",
    "line.py",
    "mediation.py",
    "outgoing.py",
    "routing.py",
    "switchboard.py",
    "trunks.py",
    "xmpp/component.py",
)
# Pure but for this: no clock, no socket, no loop.
ALLOWED = {
    "dialplan/files.py": {"pathlib"},
    "dialplan/load.py": {"pathlib"},
    "dialplan/pricing.py": {"pathlib"},
    "dialplan/trunks.py": {"pathlib"},
    "dialplan/toml.py": {"pathlib", "open"},
    "media/dtls.py": {"OpenSSL", "secrets", "datetime.datetime.now"},  # it makes its certificate
    "media/g722.py": {"cffi"},
    "media/opus.py": {"cffi"},
    "media/opusfile.py": {"cffi"},
    "media/prompts.py": {"io", "pathlib"},
    "media/srtp.py": {"pylibsrtp"},
    "pictures.py": {"structlog"},
    "xmpp/calls.py": {"structlog"},
    "xmpp/router.py": {"structlog"},
}
WORLDLY = frozenset(
    """
    asyncio concurrent contextvars glob http io logging multiprocessing os pathlib queue random sched secrets select
    selectors shutil signal socket socketserver ssl subprocess sys tempfile threading time urllib.request uuid
    OpenSSL aioice aiortc cffi dns httpx prometheus_client pylibsrtp rich slixmpp sqlalchemy starlette structlog typer
    uvicorn
    """.split()  # noqa: SIM905 (a list of sixty would be sixty lines)
)


# What is in the tree


def sources(root: Path) -> list[Path]:
    return sorted(p for p in (root / "gateway").rglob("*.py"))


def within(root: Path, source: Path) -> str:
    """A source file's name as the lists above write it."""
    return source.relative_to(root / "gateway").as_posix()


def imported(source: Path, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever it stands; names imported from a package count as its modules.

    `package` is the one that a relative import starts from.
    """
    for node in ast.walk(ast.parse(source.read_bytes(), str(source))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, *([node.module] if node.module else [])))
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def imports(root: Path, source: Path) -> Iterator[tuple[int, str]]:
    return imported(source, source.relative_to(root).parent.parts)


# 1 to 4


def upward_imports(root: Path) -> list[str]:
    faults = []
    for source in sources(root):
        name = within(root, source)
        first = name.split("/")[0].removesuffix(".py")
        if first != "__init__" and first not in ROOM:
            faults.append(f"{name}: {first} has no level")
            continue
        level, room = ROOM.get(first, (-1, "the package itself"))
        for line, module in imports(root, source):
            parts = module.split(".")
            if parts[0] != "gateway":
                continue
            target = parts[1] if len(parts) > 1 else ""
            if target.startswith("__") and target != "__main__":
                continue  # gateway.__version__
            there, other = ROOM.get(target, (len(LEVELS), f"{module!r}, which has no level"))
            if other != room and there >= level:
                faults.append(f"{name}:{line}: {first} must not import {target or other}")
    return faults


def impurities(root: Path) -> list[str]:
    """What touches the world, and what imports a file that does."""
    edges = {
        ".".join(source.relative_to(root).with_suffix("").parts)
        for source in sources(root)
        if within(root, source).startswith(EDGES)
    }
    faults = []
    for source in sources(root):
        name = within(root, source)
        if name.startswith(EDGES):
            continue
        allowed = ALLOWED.get(name, set())
        for line, module in imports(root, source):
            parts = module.split(".")
            heads = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
            faults += [
                f"{name}:{line}: a pure file imports {what}" for what in sorted(heads & (WORLDLY - allowed | edges))
            ]
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                if re.search(r"\bdate(time)?\.(now|utcnow|today)$|^(print|input|open)$", call) and call not in allowed:
                    faults.append(f"{name}:{node.lineno}: a pure file calls {call}")
    return faults


def edges_that_are_gone(root: Path) -> list[str]:
    names = [within(root, source) for source in sources(root)]
    return [
        f"{edge} is named and is not there"
        for edge in (*EDGES, *ALLOWED)
        if not any(name.startswith(edge) for name in names)
    ]


def own_test(root: Path, source: Path) -> Path:
    relative = source.relative_to(root / "gateway")
    return root / "tests" / relative.parent / f"test_{relative.name}"


def missing_tests(root: Path) -> list[str]:
    faults = []
    for source in sources(root):
        if source.name == "__init__.py":
            continue
        test = own_test(root, source)
        name = test.relative_to(root).as_posix()
        module = ".".join(source.relative_to(root).with_suffix("").parts)
        if not test.is_file():
            faults.append(f"{name} is missing")
        elif not any(f"{m}.".startswith(f"{module}.") for _, m in imported(test, ())):
            faults.append(f"{name} does not import {module}")
    return faults


def assertions(root: Path) -> list[str]:
    return [
        f"{within(root, source)}:{node.lineno}: assert"
        for source in sources(root)
        for node in ast.walk(ast.parse(source.read_bytes()))
        if isinstance(node, ast.Assert)
    ]


# 5


@dataclass(frozen=True)
class Row:
    """One inversion: in `file`, `find` (once) becomes `replace`.

    The file's own test file runs until a test fails. Where that would take long, or where the test is a slow one,
    `noticed_by` names the test of that file.
    """

    file: str
    find: str
    replace: str
    noticed_by: str = ""


def rows(root: Path) -> list[Row]:
    return [
        Row(**row)
        for table in sorted((root / "tests/inversions").glob("*.toml"))
        for row in tomllib.loads(table.read_text("utf-8"))["rule"]
    ]


def without_a_row(root: Path) -> list[str]:
    known = {row.file for row in rows(root)}
    return [
        f"{name} has no row in tests/inversions/"
        for source in sources(root)
        if (name := source.relative_to(root).as_posix()) not in known and not _only_a_docstring(source)
    ]


def _only_a_docstring(source: Path) -> bool:
    body = ast.parse(source.read_bytes()).body
    return source.name == "__init__.py" and all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body
    )


def copy_tree(root: Path, to: Path) -> Path:
    """The whole project but for what is hidden, installed or made."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "*.egg-info", "dist", "demo-run", "*.db")
    return Path(shutil.copytree(root, to, ignore=ignored))


def run(copy: Path, *command: str, limit: float = 600, **more: str) -> tuple[int, str]:
    """Python in the copy: its exit status (-1 when it had to be killed) and what it printed."""
    # The copy comes before site-packages, and with it before an editable installation.
    environment = os.environ | {"PYTHONPATH": str(copy)} | more
    for name in ("COVERAGE_PROCESS_START", "PYTHONDONTWRITEBYTECODE"):  # as quick as it can be
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return -1, output
        return process.returncode, output


def run_tests(copy: Path, *selection: str, **more: Any) -> tuple[int, str, set[str]]:
    """What pytest says of these tests: exit status, output, and those that failed (all parameters under one name).

    `more` is added to the environment.
    """
    # Hypothesis works without its plugin, which would import it for tests that do without.
    options = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tb=short")
    status, output = run(copy, "-m", "pytest", *options, *selection, **more)
    return status, output, set(re.findall(r"^FAILED ([^\s:]+(?:::\w+)+)", output, re.MULTILINE))


def write(source: Path, text: str) -> None:
    """Without bytecode: a file that changes twice in a second would be taken from its old one."""
    source.write_text(text, "utf-8")
    Path(importlib.util.cache_from_source(str(source))).unlink(missing_ok=True)


def noticed(copy: Path, row: Row) -> tuple[set[str], str]:
    """The test that fails when a rule is inverted, or what is wrong."""
    source = copy / row.file
    if not source.is_file():
        return set(), f"{row.file} is not there"
    original = source.read_text("utf-8")
    if (count := original.count(row.find)) != 1 or row.find == row.replace:
        return set(), f"{row.file}: {row.find!r} occurs {count} times and becomes {row.replace!r}"
    test = own_test(copy, source).relative_to(copy).as_posix()
    selection = (f"{test}::{row.noticed_by}",) if row.noticed_by else ("-m", "not slow", test)
    write(source, original.replace(row.find, row.replace))
    try:
        status, output, failed = run_tests(copy, "-x", *selection, TEST_PATIENCE="5")  # many fail by waiting
    finally:
        write(source, original)
    if status == 0:
        return set(), f"{row.file}: nobody notices that {row.find!r} became {row.replace!r}"
    if status != 1 or not failed:
        what = f"{row.replace!r} breaks the run, no test fails (exit status {status})"
        return set(), f"{row.file}: {what}\n{output[-2000:]}"
    return failed, ""


def unnoticed(copies: list[Path], inversions: list[Row]) -> dict[str, list[str]]:
    """For each file the inversions that its own test does not notice, and those that prove nothing.

    A test that fails proves something when it passes in the file as it is: all of them are run at the end, in one go.
    """
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def judge(row: Row) -> tuple[set[str], str]:
        copy = free.get()
        try:
            return noticed(copy, row)
        finally:
            free.put(copy)

    faults: dict[str, list[str]] = {row.file: [] for row in inversions}
    witnesses: dict[str, str] = {}
    with ThreadPoolExecutor(len(copies)) as pool:
        for row, (failed, fault) in zip(inversions, pool.map(judge, inversions), strict=True):
            faults[row.file] += [fault] if fault else []
            witnesses |= dict.fromkeys(failed, row.file)
    if witnesses:
        status, output, failed = run_tests(copies[0], *sorted(witnesses))
        for test in failed or (witnesses if status else ()):
            faults[witnesses[test]].append(f"{test} does not pass as it is (exit status {status})\n{output[-2000:]}")
    return faults


# The house as it is


def nothing_in(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_imports_point_downwards_and_siblings_never_meet() -> None:
    nothing_in(upward_imports(ROOT))


def test_what_is_no_edge_is_pure() -> None:
    nothing_in(impurities(ROOT))


def test_every_named_edge_exists() -> None:
    nothing_in(edges_that_are_gone(ROOT))


def test_every_source_file_has_a_test_file_that_imports_it() -> None:
    nothing_in(missing_tests(ROOT))


def test_the_gateway_asserts_nothing() -> None:
    nothing_in(assertions(ROOT))


def test_every_source_file_has_an_inversion() -> None:
    nothing_in(without_a_row(ROOT))


@pytest.fixture(scope="module")
def faults(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `unnoticed` says of the selected files. One copy more than processors: some tests fail by waiting."""
    selected = {
        item.callspec.params["file"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_an_inverted_rule_is_noticed"
    }
    copies = [copy_tree(ROOT, tmp_path_factory.mktemp("house") / "copy") for _ in range(1 + (os.cpu_count() or 1))]
    return unnoticed(copies, [row for row in rows(ROOT) if row.file in selected])


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted({row.file for row in rows(ROOT)}))
def test_an_inverted_rule_is_noticed(file: str, faults: dict[str, list[str]]) -> None:
    nothing_in(faults[file])


# The checks can fail


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text), "utf-8")
    return root


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("call/machine.py", "import gateway.sip.leg"),
        ("call/machine.py", "from gateway import switchboard"),
        ("call/machine.py", "from ..xmpp import session"),
        ("call/machine.py", "import gateway"),
        ("call/machine.py", "from gateway import unheard_of"),
        ("sip/leg.py", "def late():\n    from gateway.media import engine"),
        ("sip/leg.py", "if TYPE_CHECKING:\n    from gateway.xmpp.component import Component"),
        ("session/sdp.py", "from gateway.dialplan.plan import Plan"),
        ("addresses.py", "from gateway.reach import Reach"),
        ("errors.py", "import importlib\nimportlib.import_module('gateway.call.causes')"),
        ("config.py", "import gateway.ops.cli"),
        ("kitchen/sink.py", ""),
        ("__init__.py", "from gateway.errors import GatewayError"),
    ],
)
def test_an_import_that_does_not_point_downwards_is_found(tmp_path: Path, file: str, text: str) -> None:
    assert len(upward_imports(tree(tmp_path, {f"gateway/{file}": text}))) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("call/machine.py", "from gateway.session.model import Session\nfrom gateway.call.events import Leg"),
        (
            "call/machine.py",
            "from .events import Leg\nfrom ..errors import GatewayError\nfrom gateway import __version__",
        ),
        ("switchboard.py", "from gateway.bridge import Bridge\nfrom gateway.media import engine"),
        ("ops/cli.py", "import gateway.config\nimport gateway.ops.log"),
    ],
)
def test_an_import_that_points_downwards_is_left_alone(tmp_path: Path, file: str, text: str) -> None:
    assert upward_imports(tree(tmp_path, {f"gateway/{file}": text})) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("call/machine.py", "import time"),
        ("session/sdp.py", "from os import path"),
        ("dialplan/load.py", "import asyncio.events"),
        ("dialplan/plan.py", "import pathlib"),
        ("xmpp/session.py", "def new():\n    import random"),
        ("sip/dialog.py", "from urllib import request"),
        ("sip/message.py", "import urllib.request"),
        ("sip/dialog.py", "from gateway.sip.transport import Transport"),
        ("sip/dialog.py", "from . import transport"),
        ("media/rtp.py", "open('/dev/null')"),
        ("dialplan/plan.py", "import datetime\nnow = datetime.datetime.now(datetime.UTC)"),
    ],
)
def test_a_file_that_touches_the_world_is_found(tmp_path: Path, file: str, text: str) -> None:
    assert len(impurities(tree(tmp_path, {f"gateway/{file}": text, "gateway/sip/transport.py": "import socket"}))) == 1


def test_an_edge_may_touch_the_world_and_a_pure_file_may_compute(tmp_path: Path) -> None:
    files = {
        "gateway/ops/cli.py": "import asyncio, os, time\nprint(open('x'))",
        "gateway/dialplan/load.py": "from pathlib import Path\nimport tomllib",
        "gateway/sip/message.py": "import re\nfrom urllib.parse import quote\nfrom datetime import datetime",
    }
    assert impurities(tree(tmp_path, files)) == []


def test_an_edge_that_is_gone_is_found(tmp_path: Path) -> None:
    assert "xmpp/component.py is named and is not there" in edges_that_are_gone(
        tree(tmp_path, {"gateway/ops/cli.py": ""})
    )


def test_a_missing_test_and_one_that_tests_something_else_are_found(tmp_path: Path) -> None:
    files = {
        "gateway/errors.py": "",
        "gateway/sip/__init__.py": "",
        "gateway/sip/digest.py": "",
        "gateway/sip/headers.py": "",
        "gateway/sip/message.py": "",
        "tests/sip/test_digest.py": "from gateway.sip.digest import answer",
        "tests/sip/test_headers.py": "from gateway.sip import headers_of_another_kind",
        "tests/sip/test_message.py": "from gateway.sip import message",
    }
    faults = missing_tests(tree(tmp_path, files))
    assert faults == [
        "tests/test_errors.py is missing",
        "tests/sip/test_headers.py does not import gateway.sip.headers",
    ]


def test_an_assertion_is_found(tmp_path: Path) -> None:
    files = {"gateway/errors.py": "def check(x):\n    assert x, 'no'"}
    assert assertions(tree(tmp_path, files)) == ["errors.py:2: assert"]


def test_a_file_without_an_inversion_is_found(tmp_path: Path) -> None:
    files = {
        "gateway/__init__.py": '"""A map."""',
        "gateway/sip/__init__.py": "__version__ = 1",
        "gateway/errors.py": '"""Errors."""',
        "gateway/reach.py": "",
        "tests/inversions/house.toml": '[[rule]]\nfile = "gateway/reach.py"\nfind = "1"\nreplace = "2"',
    }
    faults = without_a_row(tree(tmp_path, files))
    assert [fault.split()[0] for fault in faults] == ["gateway/errors.py", "gateway/sip/__init__.py"]


EVEN = {
    "gateway/__init__.py": "",
    "gateway/even.py": "def even(n):\n    return n % 2 == 0  # == 0\n",
    "tests/test_even.py": "from gateway.even import even\ndef test_two():\n    assert even(2) and not even(3)\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("find", "replace", "fault"),
    [
        ("% 2 == 0", "% 2 == 1", ""),
        ("n % 2", "n % (2)", "nobody notices"),
        ("== 0", "== 1", "occurs 2 times"),
        ("== 3", "== 1", "occurs 0 times"),
        ("def even(n)", "def even(n", "breaks the run"),
    ],
)
def test_only_an_inversion_that_makes_a_test_fail_counts(tmp_path: Path, find: str, replace: str, fault: str) -> None:
    faults = unnoticed([tree(tmp_path, EVEN)], [Row("gateway/even.py", find, replace)])["gateway/even.py"]
    assert len(faults) == bool(fault)
    assert fault in "".join(faults)
    assert (tmp_path / "gateway/even.py").read_text() == EVEN["gateway/even.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "fault"),
    [("test_two", ""), ("test_name", "nobody notices"), ("test_three", "breaks the run")],
)
def test_the_test_that_a_row_names_must_notice_it(tmp_path: Path, test: str, fault: str) -> None:
    named = EVEN["tests/test_even.py"] + "def test_name():\n    assert even.__name__ == 'even'\n"
    copy = tree(tmp_path, EVEN | {"tests/test_even.py": named})
    faults = unnoticed([copy], [Row("gateway/even.py", "% 2 == 0", "% 2 == 1", test)])["gateway/even.py"]
    assert len(faults) == bool(fault)
    assert fault in "".join(faults)


@pytest.mark.slow
def test_a_test_that_fails_anyway_proves_nothing(tmp_path: Path) -> None:
    broken = EVEN | {"tests/test_even.py": "from gateway.even import even\ndef test_two():\n    assert even(3)\n"}
    faults = unnoticed([tree(tmp_path, broken)], [Row("gateway/even.py", "n % 2 == 0", "n == 2")])
    assert "test_two does not pass as it is" in faults["gateway/even.py"][0]


@pytest.mark.slow
def test_a_copy_runs_itself_and_not_what_is_installed(tmp_path: Path) -> None:
    copy = tree(tmp_path, EVEN)
    printed = run(copy, "-c", "import gateway; print(gateway.__file__)")
    assert printed == (0, f"{copy / 'gateway/__init__.py'}\n")


@pytest.mark.slow
def test_a_run_that_hangs_is_ended(tmp_path: Path) -> None:
    status, _ = run(tmp_path, "-c", "import threading; threading.Event().wait()", limit=0.5)
    assert status == -1
