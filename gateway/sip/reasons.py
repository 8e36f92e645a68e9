"""Why a SIP call ended, as its messages say it: the Reason header (RFC 3326, RFC 6432) and Warning. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.call.causes import Cause, from_sip
from gateway.errors import SipError
from gateway.sip.headers import Reason
from gateway.sip.message import Message, Request, Response

_FROM_Q850 = {
    1: Cause.NOT_FOUND,
    3: Cause.NOT_FOUND,
    16: Cause.NORMAL,
    17: Cause.BUSY,
    18: Cause.NO_ANSWER,
    19: Cause.NO_ANSWER,
    20: Cause.UNAVAILABLE,
    21: Cause.DECLINED,
    22: Cause.NOT_FOUND,
    26: Cause.ELSEWHERE,
    27: Cause.CONGESTION,
    28: Cause.NOT_FOUND,
    31: Cause.NORMAL,  # "normal, unspecified": what most systems send
    34: Cause.CONGESTION,
    38: Cause.CONGESTION,
    41: Cause.CONGESTION,
    42: Cause.CONGESTION,
    65: Cause.NO_COMMON_CODEC,
    88: Cause.NO_COMMON_CODEC,
    102: Cause.TIMEOUT,
    111: Cause.PROTOCOL,
}  # 127, "interworking, unspecified", says nothing

# Statuses that say little: the telephone network's own word beside them says more (RFC 6432 §1).
_VAGUE = frozenset({403, 480, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Why:
    """`q850` is the far side's own code (0 to 127), None when it gave none; `text` is for people."""

    cause: Cause
    text: str = ""
    q850: int | None = None


def why(message: Request, otherwise: Cause) -> Why:
    """Why a BYE or a CANCEL was sent."""
    reasons = _reasons(message)
    q850, text = _q850(reasons)
    if q850 is not None:
        return Why(_FROM_Q850.get(q850, otherwise), text, q850)
    for reason in reasons:
        if reason.protocol.upper() == "SIP":
            if reason.cause == 200:  # "Call completed elsewhere"
                return Why(Cause.ELSEWHERE if message.method == "CANCEL" else otherwise, reason.text)
            return Why(from_sip(reason.cause) if reason.cause >= 300 else otherwise, reason.text)
    return Why(otherwise)


def why_refused(response: Response) -> Why:
    """Why a final response of 300 or more was sent."""
    cause = from_sip(response.status)
    q850, _ = _q850(_reasons(response))
    if q850 is not None and response.status in _VAGUE:
        said = _FROM_Q850.get(q850, cause)
        cause = cause if said is Cause.NORMAL else said  # a call that was refused did not end as it should
    return Why(cause, response.label, q850)


def _reasons(message: Message) -> list[Reason]:
    found: list[Reason] = []
    for value in message.headers.listed("Reason"):
        try:
            found.append(Reason.parse(value))
        except SipError:
            continue
    return found


def _q850(reasons: list[Reason]) -> tuple[int | None, str]:
    return next(
        ((r.cause, r.text) for r in reasons if r.protocol.upper() == "Q.850" and r.cause <= 127),
        (None, ""),
    )


def reason_headers(cause: Cause, text: str, q850: int | None = None) -> dict[str, str]:
    """The Reason header that says this cause; `q850` is what the other end's network said, which passes through."""
    said = "ended by the gateway" if cause.discreet else text or cause.text
    value = str(Reason("Q.850", cause.q850 if q850 is None else q850, said))
    if cause is Cause.ELSEWHERE:  # RFC 3326 §3.1: phones then show no missed call
        return {"Reason": f'SIP;cause=200;text="Call completed elsewhere", {value}'}
    return {"Reason": value}


def objection(status: int, text: str) -> dict[str, str]:
    """The headers of a refusal that say what was wrong, and with a 415 what would not be (RFC 3261 §8.2.3)."""
    said = {"Warning": warning(text)}
    return {**said, "Accept": "application/sdp", "Accept-Encoding": "identity"} if status == 415 else said


def warning(text: str) -> str:
    """A Warning header (RFC 3261 §20.43)."""
    flat = "".join(" " if character in '"\\\r\n\0' else character for character in text)
    return f'399 gateway "{flat}"'
