"""Why a call ended: one table, every spelling.

Each row is a cause with the SIP status and Q.850 code that say it towards SIP, the Jingle reason that says it towards
XMPP, the label of call records and metrics, whose fault it was, and a text for people. The reverse columns are tables
of their own below, because what comes in is wider than what goes out.

SIP statuses: RFC 3261 §21. Q.850 in the Reason header: RFC 3326. Jingle reasons: XEP-0166 §7.4.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Blame(enum.StrEnum):
    """Whose doing the end of a call was; "nobody" for calls that went as they should."""

    NOBODY = "nobody"
    CALLER = "caller"
    CALLEE = "callee"
    NETWORK = "network"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Row:
    """One cause in every spelling: `label` is that of records and metrics, `phrase` SIP's, `text` for people."""

    label: str
    sip: int
    phrase: str
    jingle: str
    q850: int
    blame: Blame
    text: str


class Cause(enum.Enum):
    """Why a call, or one attempt of it, ended."""

    NORMAL = Row("normal", 200, "OK", "success", 16, Blame.NOBODY, "the call ended")
    CANCELLED = Row("cancelled", 487, "Request Terminated", "cancel", 16, Blame.CALLER, "the caller gave up")
    ELSEWHERE = Row("answered-elsewhere", 487, "Request Terminated", "cancel", 26, Blame.NOBODY, "answered elsewhere")
    BUSY = Row("busy", 486, "Busy Here", "busy", 17, Blame.CALLEE, "busy")
    DECLINED = Row("declined", 603, "Decline", "decline", 21, Blame.CALLEE, "declined")
    NO_ANSWER = Row("no-answer", 480, "Temporarily Unavailable", "timeout", 19, Blame.CALLEE, "no answer")
    UNAVAILABLE = Row(
        "unavailable", 480, "Temporarily Unavailable", "timeout", 20, Blame.CALLEE, "not reachable at the moment"
    )
    NOT_FOUND = Row("not-found", 404, "Not Found", "gone", 1, Blame.CALLER, "no such number or address")
    FORBIDDEN = Row("forbidden", 403, "Forbidden", "general-error", 21, Blame.CALLER, "this call is not allowed")
    NO_COMMON_CODEC = Row(
        "no-common-codec",
        488,
        "Not Acceptable Here",
        "incompatible-parameters",
        65,
        Blame.NETWORK,
        "the two ends have no codec in common",
    )
    MEDIA_FAILED = Row(
        "media-failed",
        480,
        "Temporarily Unavailable",
        "connectivity-error",
        127,
        Blame.NETWORK,
        "no media connection could be made",
    )
    MEDIA_LOST = Row(
        "media-lost", 480, "Temporarily Unavailable", "connectivity-error", 41, Blame.NETWORK, "the media stopped"
    )
    SECURITY = Row(
        "security",
        488,
        "Not Acceptable Here",
        "security-error",
        111,
        Blame.NETWORK,
        "the media could not be encrypted as agreed",
    )
    CERTIFICATE = Row(
        "certificate",
        502,
        "Bad Gateway",
        "security-error",
        41,
        Blame.NETWORK,
        "the far side could not prove who it is",
    )
    CONGESTION = Row(
        "congestion", 503, "Service Unavailable", "connectivity-error", 34, Blame.NETWORK, "the line is out of service"
    )
    TIMEOUT = Row("timeout", 408, "Request Timeout", "timeout", 102, Blame.NETWORK, "the far side does not respond")
    PROTOCOL = Row("protocol", 400, "Bad Request", "general-error", 111, Blame.NETWORK, "a message could not be read")
    LINK_LOST = Row(
        "link-lost", 503, "Service Unavailable", "connectivity-error", 38, Blame.NETWORK, "the XMPP server was lost"
    )
    TOO_LONG = Row("too-long", 200, "OK", "expired", 31, Blame.NOBODY, "the longest duration was reached")
    # What calls cost. Towards SIP only that the call is not carried: an account is nobody else's business.
    EXHAUSTED = Row("exhausted", 403, "Forbidden", "expired", 31, Blame.CALLER, "the budget for such calls is used up")
    FROZEN = Row(
        "frozen", 403, "Forbidden", "general-error", 21, Blame.CALLER, "calls that cost money are blocked for now"
    )
    UNBOOKED = Row(
        "unbooked",
        503,
        "Service Unavailable",
        "general-error",
        41,
        Blame.GATEWAY,
        "calls that cost money cannot be made at the moment",
    )
    SHUTDOWN = Row("shutdown", 503, "Service Unavailable", "gone", 41, Blame.GATEWAY, "the gateway is stopping")
    INTERNAL = Row("internal", 500, "Server Internal Error", "general-error", 41, Blame.GATEWAY, "an internal error")

    @property
    def sip(self) -> int:
        return self.value.sip

    @property
    def phrase(self) -> str:
        return self.value.phrase

    @property
    def jingle(self) -> str:
        return self.value.jingle

    @property
    def q850(self) -> int:
        return self.value.q850

    @property
    def label(self) -> str:
        return self.value.label

    @property
    def blame(self) -> Blame:
        return self.value.blame

    @property
    def text(self) -> str:
        return self.value.text

    def worded(self, text: str) -> str:
        """For people: what came with it, beside our own words where it is a mere name."""
        return f"{self.text} ({text})" if self.discreet and text else text or self.text

    @property
    def discreet(self) -> bool:
        """Whether only the user whose call it is may read why."""
        return self in (Cause.EXHAUSTED, Cause.FROZEN, Cause.UNBOOKED)


_FROM_SIP = {
    400: Cause.PROTOCOL,
    401: Cause.FORBIDDEN,
    402: Cause.FORBIDDEN,
    403: Cause.FORBIDDEN,
    404: Cause.NOT_FOUND,
    407: Cause.FORBIDDEN,
    408: Cause.TIMEOUT,
    410: Cause.NOT_FOUND,
    415: Cause.NO_COMMON_CODEC,
    433: Cause.FORBIDDEN,
    480: Cause.UNAVAILABLE,
    484: Cause.NOT_FOUND,
    485: Cause.NOT_FOUND,
    486: Cause.BUSY,
    487: Cause.CANCELLED,
    488: Cause.NO_COMMON_CODEC,
    600: Cause.BUSY,
    603: Cause.DECLINED,
    604: Cause.NOT_FOUND,
    606: Cause.NO_COMMON_CODEC,
    607: Cause.DECLINED,
    608: Cause.DECLINED,
}


def from_sip(status: int) -> Cause:
    """What a final response of 300 or more to an INVITE means."""
    if status in _FROM_SIP:
        return _FROM_SIP[status]
    if 500 <= status < 600:
        return Cause.CONGESTION
    return Cause.DECLINED if status >= 600 else Cause.FORBIDDEN


_FROM_JINGLE = {
    "success": Cause.NORMAL,
    "busy": Cause.BUSY,
    "decline": Cause.DECLINED,
    "cancel": Cause.CANCELLED,
    "alternative-session": Cause.ELSEWHERE,
    "timeout": Cause.NO_ANSWER,
    "expired": Cause.NO_ANSWER,
    "gone": Cause.UNAVAILABLE,
    "incompatible-parameters": Cause.NO_COMMON_CODEC,
    "unsupported-applications": Cause.NO_COMMON_CODEC,
    "unsupported-transports": Cause.NO_COMMON_CODEC,
    "media-error": Cause.NO_COMMON_CODEC,
    "failed-application": Cause.NO_COMMON_CODEC,
    "security-error": Cause.SECURITY,
    "connectivity-error": Cause.MEDIA_FAILED,
    "failed-transport": Cause.MEDIA_FAILED,
    "general-error": Cause.INTERNAL,
}


def from_jingle(reason: str) -> Cause:
    """What the reason of a session-terminate, reject or retract means."""
    return _FROM_JINGLE.get(reason, Cause.INTERNAL)
