"""One way out for every log line: ours by structlog, the libraries' by logging.

    structlog.get_logger() ─ level ─┐
                                    ├─ redact ─ render ─ Out ─ stream
    logging.getLogger(…) ── level ──┘

A call's ladder is a line for each of its messages, so ours go straight to the stream: logging's own way to it, a record
that is formatted by a handler, costs as much as the SIP message itself.

Rules:
1. A secret is never written, whoever logs it: keys that are named like one are blanked at any depth, and so are the few
   protocol lines that carry one inside a text (Authorization, SDES keys, ICE passwords, the component's handshake).
2. A peer cannot forge a line: in text, control characters of every value become their pictures (JSON escapes them).
3. A log that cannot be written never fails a call, and no spelling of a peer's makes a line impossible to write.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

REDACTED = "[redacted]"
GATHER = 0.02  # s in which lines come together
LINES = 200  # that wait at most
DEPTH = 6  # of nested values; deeper ones are blanked rather than trusted

# A whole word of the key's name, so that `client_secret` is one and `secretary` and `keyboard` are not.
_SECRET_KEY = re.compile(
    r"(?:^|[_\-. ])"
    r"(?:secrets?|passwords?|passwd|passphrase|pwd|authorization|credentials?|tokens?|cookie|private_?key|ha1)"
    r"(?:$|[_\-. ])",
    re.IGNORECASE,
)
_SECRET_TEXT = (
    re.compile(r"(?P<keep>\b(?:proxy-)?authorization\s*:\s*(?:\w+\s+)?)[^\r\n]+", re.IGNORECASE),  # RFC 3261 §20.7
    re.compile(r"(?P<keep>\ba=ice-pwd:)[^\r\n]+", re.IGNORECASE),  # RFC 8839 §5.4
    re.compile(r"(?P<keep>\binline:)[^\s|;]+", re.IGNORECASE),  # RFC 4568 §6.1
    re.compile(r"(?P<keep>\bpwd=[\"'])[^\"']+", re.IGNORECASE),  # XEP-0176 §5.2
    re.compile(r"(?P<keep><handshake[^>]{0,200}>)[^<]+", re.IGNORECASE),  # XEP-0114 §3
    re.compile(r"(?P<keep>://[^/\s:@]{0,64}:)[^/\s@]{1,256}(?=@)"),  # a URL's password, RFC 3986 §3.2.1
)
# A word of each: most texts have none, and every line of a flood is looked at.
_SIGNS = ("authorization", "pwd", "inline:", "<handshake", "://")
_FLAT = frozenset({str, int, float, bool, type(None)})  # values that hold no others
_FIRST = frozenset({"timestamp", "level", "event", "logger"})  # what every line begins with
_MANY_LINES = frozenset({"exception", "stack"})
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ODD = re.compile(r"[\s=\"']")  # what makes a value one that has to be quoted

# What a library says below these levels is of use to its authors only; at "debug" one level more is let through.
# slixmpp's DEBUG would write every stanza with its text, so it is never let through.
_LIBRARIES = {
    "slixmpp": (logging.WARNING, logging.INFO),
    "aioice": (logging.WARNING, logging.INFO),
    "aiortc": (logging.WARNING, logging.INFO),
    "uvicorn": (logging.WARNING, logging.INFO),
    "uvicorn.access": (logging.ERROR, logging.INFO),
    "asyncio": (logging.WARNING, logging.INFO),
    "sqlalchemy": (logging.WARNING, logging.WARNING),
}


def stamped(_logger: WrappedLogger | None, method: str, event: EventDict) -> EventDict:
    """The first processor: the level, and the time in UTC to the microsecond (RFC 3339)."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    event["level"] = "warning" if method == "warn" else method
    event["timestamp"] = f"{_second(seconds)}.{microseconds:06d}Z"
    return event


@functools.lru_cache(maxsize=2)  # under load a thousand lines have the same
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_stacked = structlog.processors.StackInfoRenderer()


def explained(logger: WrappedLogger | None, method: str, event: EventDict) -> EventDict:
    """The stack and the traceback that a line was given, as text; most have none."""
    if "exc_info" in event or "stack_info" in event:
        event = structlog.processors.format_exc_info(logger, method, _stacked(logger, method, event))
    return event


def redact(_logger: WrappedLogger | None, _method: str, event: EventDict) -> EventDict:
    """The processor of rule 1."""
    return {key: _clean(key, value, DEPTH) for key, value in event.items()}


@functools.lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _clean(key: str, value: Any, depth: int) -> Any:
    if _is_secret(key) and value not in (None, "", True, False):
        return REDACTED
    if isinstance(value, str):
        return _without_secrets(value) if _is_suspicious(value) else value
    if isinstance(value, bytes):
        return _clean(key, value.decode("utf-8", "backslashreplace"), depth)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {k: _clean(str(k), v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        # A pair of a header's or parameter's name and value is how wire values keep them.
        if len(value) == 2 and isinstance(value, tuple) and isinstance(value[0], str):
            return (value[0], _clean(value[0], value[1], depth - 1))
        return [_clean("", v, depth - 1) for v in value]
    return value


def _is_suspicious(text: str) -> bool:
    small = text.lower()
    for sign in _SIGNS:  # noqa: SIM110 -- a generator costs more than what it looks at
        if sign in small:
            return True
    return False


def _without_secrets(text: str) -> str:
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\g<keep>{REDACTED}", text)
    return text


def picture(_logger: WrappedLogger | None, _method: str, event: EventDict) -> EventDict:
    """The processor of rule 2, for text. A traceback keeps its line breaks."""
    return {
        _pictured(key): _pictured(value) if isinstance(value, str) and key not in _MANY_LINES else value
        for key, value in event.items()
    }


def _pictured(text: str) -> str:
    """Carriage return as ␍, escape as ␛ (Unicode's control pictures), what has no picture as �."""
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])) if ord(found[0]) < 0x20 else "\ufffd", text)


def _value(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    if value.isalnum():  # most are, and it takes no regular expression to see that
        return str(value)
    return repr(str(value)) if _ODD.search(value) else str(value)


def plain_text(_logger: WrappedLogger | None, _method: str, event: EventDict) -> str:
    """All of it for text that no terminal colours. Most lines have nothing that rules 1 and 2 are about: flat facts, no
    sign of a secret, no control character. Those are seen in the finished line, and only others are made with care.
    """
    facts = _facts(tuple(event))
    if facts is not None and _FLAT.issuperset(map(type, event.values())):
        line = _line(event, facts)
        if line.isprintable() and not _is_suspicious(line):
            return line
    event = picture(None, "", redact(None, "", event))
    text = _line(event, sorted(event.keys() - _FIRST - _MANY_LINES))
    return "\n".join([text, *(event[name] for name in ("stack", "exception") if event.get(name))])


@functools.lru_cache(maxsize=1024)
def _facts(keys: tuple[str, ...]) -> list[str] | None:
    """The keys of a line's facts in their order; None where one may be a secret's, or there is more than one line.
    Events have few shapes, so that this is found out once for each.
    """
    if not _MANY_LINES.isdisjoint(keys) or any(map(_is_secret, keys)):
        return None
    return sorted(set(keys) - _FIRST)


def _line(event: EventDict, facts: Sequence[str]) -> str:
    """Time, level, event, facts by name."""
    logger = f"[{event['logger']}] " if "logger" in event else ""
    head = f"{event['timestamp']} [{event['level']:<9}] {event['event']:<24} {logger}"
    return (head + " ".join([f"{key}={_value(event[key])}" for key in facts])).rstrip(" ")


class Out:
    """Where all lines go, from any thread, each whole, after rule 3. structlog calls the method of the level's name.

    A line that an event loop says below warning may wait GATHER seconds for others, in this process' memory: writing
    each by itself is a system call for each message of a call. Every other line is written at once, and those that wait
    before it. What waits is written when the process ends, in order or by an exception; a process that is killed
    outright (SIGKILL, a fault of the interpreter) takes it along: at most LINES, usually of the last GATHER seconds.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # has a timer that writes what waits

    def later(self, line: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a thread's line, or one from before or after the loop
            loop = None
        with self._lock:
            self._waiting.append(line)
            if loop is None or len(self._waiting) >= LINES:
                self._write()
            elif loop is not self._loop:
                self._loop = loop
                loop.call_later(GATHER, self.flush)

    def at_once(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
            self._write()

    def flush(self) -> None:
        with self._lock:
            self._loop = None
            self._write()

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        try:
            try:
                self._stream.write("".join([f"{line}\n" for line in lines]))
            except UnicodeEncodeError:  # a peer's octets that are no UTF-8, or a stream that is none
                encoding = getattr(self._stream, "encoding", None) or "ascii"
                for line in lines:
                    self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a broken pipe, a closed file
            pass

    debug = info = later
    warning = error = critical = at_once


class _ToOut(logging.Handler):
    """What libraries log."""

    def __init__(self, out: Out) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._out.at_once(self.format(record))
        except Exception:  # theirs, of arguments that do not fit the text
            self.handleError(record)


def configure(level: Level = "info", format: Format = "text", stream: TextIO | None = None) -> None:
    """Set up structlog and logging for the whole process, anew at each call. `stream` is stderr when not given."""
    stream = stream if stream is not None else sys.stderr
    out = Out(stream)
    atexit.register(out.flush)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    last: list[Processor] = [explained, redact]
    if format == "json":
        last.append(structlog.processors.JSONRenderer(default=str, ensure_ascii=False))
    elif stream.isatty():
        # Tracebacks are plain: the pretty ones print local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        last += [picture, structlog.dev.ConsoleRenderer(colors=True, pad_event_to=24, exception_formatter=plain)]
    else:
        last[-1] = plain_text

    handler = _ToOut(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[stamped, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name, (usual, debugging) in _LIBRARIES.items():
        library = logging.getLogger(name)
        library.handlers.clear()  # uvicorn brings its own
        library.propagate = True
        library.setLevel(debugging if threshold <= logging.DEBUG else max(usual, threshold))

    structlog.configure(
        processors=[stamped, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: out,
        cache_logger_on_first_use=False,  # modules keep their loggers, configuration comes later and may come again
    )


def teller(event: str) -> Callable[[EventDict], None]:
    """What structlog.get_logger().info(event, **facts) does, by the log that is configured now, for an event that every
    message of every call is: structlog's own way from the call to the first processor was 2 to 4 % of a SIP call's CPU.
    The facts' dict becomes the line's.
    """
    configured = structlog.get_config()
    processors, out = configured["processors"], configured["logger_factory"]()
    if not structlog.get_logger().is_enabled_for(logging.INFO):
        return lambda facts: None

    def tell(facts: EventDict) -> None:
        facts["event"] = event
        line: Any = facts
        try:
            for process in processors:
                line = process(out, "info", line)
        except structlog.DropEvent:
            return
        out.info(line)

    return tell
