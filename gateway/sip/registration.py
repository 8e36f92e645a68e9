"""When to register at a trunk (RFC 3261 §10.2): before it expires, and after a failure with growing patience. Pure.

    idle ── start ──> asking ── 2xx ──> registered ── shortly before it expires ──> asking
                        ├── 423 ──> asking, for at least Min-Expires
                        └── any other ──> failed ── after a while, doubling ──> asking

Where there is reason to think that the registrar knows us no more it is asked before its time: `again`.

A wrong password is not tried often: some registrars lock the account.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.addresses import SipUri
from gateway.errors import SipError
from gateway.sip.digest import Credentials
from gateway.sip.headers import NameAddr
from gateway.sip.message import Response

SHORTEST, LONGEST = 60, 86_400  # seconds that we let a registrar grant
FIRST_PAUSE, LAST_PAUSE = 15.0, 1800.0
FORBIDDEN_PAUSE = 900.0  # after 401, 403, 404 and 407
OUTAGE_PAUSE = 120.0  # at most, where nobody was reached: no registrar minds that, and calls come in no sooner


@dataclass(frozen=True, slots=True)
class Account:
    """`address` is the address of record; `registrar` where its REGISTER goes."""

    name: str
    registrar: SipUri
    address: SipUri
    credentials: Credentials | None = None
    expires: int = 3600  # seconds that we ask for


class Registration:
    """`expires` is what the next REGISTER asks for; `deadline` when it is due."""

    def __init__(self, account: Account, now: float) -> None:
        self.account = account
        self.expires = account.expires
        self.registered = False
        self.deadline: float | None = now
        self.problem = ""  # why it is not registered, for people
        self._pause = FIRST_PAUSE
        self._bargained = False
        self._answered = now

    def again(self, now: float) -> None:
        """The connection is gone by which it reaches us, or it was away: it is asked now (RFC 5626 §4.5), but no sooner
        than FIRST_PAUSE after it answered, for it may hang up on us each time. One that failed has a time of its own.
        """
        if self.registered and self.deadline is not None:
            self.deadline = min(self.deadline, max(now, self._answered + FIRST_PAUSE))

    def asked(self) -> None:
        """The REGISTER is on its way."""
        self.deadline = None

    def answered(self, response: Response, contact_user: str, now: float) -> None:
        """The final response to it, or its local stand-in."""
        self._answered = now
        if 200 <= response.status < 300:
            granted = granted_seconds(response, contact_user, self.expires)
            self.registered, self.problem = True, ""
            self._pause, self._bargained = FIRST_PAUSE, False
            self.deadline = now + granted - min(60.0, granted / 2)
            return
        self.registered = False
        self.problem = response.told
        shortest = _seconds(response.headers.get("Min-Expires"))
        if response.status == 423 and shortest is not None and not self._bargained:
            self._bargained = True  # once: a registrar that says 423 again is not worth arguing with
            self.expires = min(max(shortest, SHORTEST), LONGEST)
            self.deadline = now
            return
        wait = _seconds((response.headers.get("Retry-After") or "").split("(")[0].split(";")[0])
        if response.status in (401, 403, 404, 407):
            pause = FORBIDDEN_PAUSE
        else:
            pause, self._pause = self._pause, min(self._pause * 2, OUTAGE_PAUSE if response.local else LAST_PAUSE)
        self.deadline = now + max(pause, min(float(wait or 0), LAST_PAUSE))


def granted_seconds(response: Response, contact_user: str, asked: int) -> int:
    """For how long a 2xx registers us: its Contact with our user says it, else Expires, else what we asked for."""
    found: int | None = None
    for text in response.headers.listed("Contact"):
        try:
            contact = NameAddr.parse(text)
        except SipError:
            continue
        if contact.user == contact_user and (named := _seconds(contact.parameter("expires"))) is not None:
            found = named if found is None else max(found, named)
    if found is None:
        found = _seconds(response.headers.get("Expires"))
    return min(max(asked if found is None else found, SHORTEST), LONGEST)


def _seconds(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
