"""The session timer of one dialog (RFC 4028): who proves that the call is still alive, how often, and until when. Pure.

    request ── ask ──>  Session-Expires, Min-SE            422 ── learn ──> ask again, for longer
    2xx to it ── answered ──> one of the two refreshes at half time; whoever does not hear of it hangs up
    their request ── too_brief ──> 422                     ── accept ──> Session-Expires in our 2xx

One deadline: the next refresh if it is ours, else the end. It comes a little before the interval is over (§10).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.headers import parameters
from gateway.sip.message import Headers, Message, Request, Response

DEFAULT = 1800  # seconds (§4)
SHORTEST = 90  # §5: nobody may ask for less
LONGEST = 86_400  # that anybody may want for a Min-SE
AGAIN = 10.0  # seconds after a refresh that was refused
MAX_RAISES = 4  # in a row: each hop may want longer sessions than the one before, and none of them for ever


@dataclass(frozen=True, slots=True)
class Interval:
    """What Session-Expires says; `refresher` is "uac", "uas" or "" when it leaves that open."""

    seconds: int
    refresher: str = ""


def interval(message: Message) -> Interval | None:
    """None when it is absent or cannot be read."""
    said = message.headers.get("Session-Expires")
    if said is None:
        return None
    value, _, rest = said.partition(";")
    seconds = _seconds(value)
    if seconds is None:
        return None
    refresher = next((v for name, v in parameters(rest) if name == "refresher"), None)
    return Interval(seconds, (refresher or "").lower())


def minimum(message: Message) -> int:
    """Min-SE; without one it is 90 (§5)."""
    seconds = _seconds((message.headers.get("Min-SE") or "").partition(";")[0])
    return SHORTEST if seconds is None else min(max(seconds, SHORTEST), LONGEST)


def _seconds(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


class SessionTimer:
    __slots__ = ("_end_at", "_minimum", "_raises", "_refresh_at", "ours", "seconds")

    def __init__(self) -> None:
        self.seconds = 0  # the interval that was agreed on, 0: there is none
        self.ours = False  # we refresh
        self._minimum = SHORTEST  # the longest Min-SE that was heard: whoever is on the way knows why
        self._raises = 0  # since somebody was content with it
        self._refresh_at: float | None = None
        self._end_at: float | None = None

    @property
    def deadline(self) -> float | None:
        if self._refresh_at is None or self._end_at is None:
            return self._end_at if self._refresh_at is None else self._refresh_at
        return min(self._refresh_at, self._end_at)

    def refresh_due(self, now: float) -> bool:
        return self._refresh_at is not None and now >= self._refresh_at

    def over(self, now: float) -> bool:
        return self._end_at is not None and now >= self._end_at

    def stop(self) -> None:
        self.seconds, self._refresh_at, self._end_at = 0, None, None

    # As a client

    def ask(self, headers: Headers) -> None:
        """What our INVITE or UPDATE says. Inside a dialog whoever refreshes now goes on with it (§7.4)."""
        if self.seconds:
            who = ";refresher=uac" if self.ours else ";refresher=uas"
            headers.set("Session-Expires", f"{max(self.seconds, self._minimum)}{who}")
        else:
            headers.set("Session-Expires", str(max(DEFAULT, self._minimum)))
        if self._minimum > SHORTEST:
            headers.set("Min-SE", str(self._minimum))  # §7.1: once it was heard it is passed on

    def learn(self, response: Response) -> bool:
        """A 422: whether asking for longer may help (§7.3)."""
        wanted = minimum(response)
        longer = wanted > self._minimum
        self._minimum = max(wanted, self._minimum)
        self._raises += 1
        return longer and self._raises <= MAX_RAISES

    def refreshing(self) -> None:
        """Our refresh is under way."""
        self._refresh_at = None

    def refused(self, now: float) -> None:
        """Our refresh did not get through; while there is time it is tried again."""
        if self.seconds and self.ours and self._refresh_at is None:
            self._refresh_at = now + AGAIN

    def answered(self, response: Response, now: float) -> None:
        """A 2xx to our request; one without an interval ends what there was (§7.2)."""
        self._raises = 0
        found = interval(response)
        if found is None:
            self.stop()
        else:
            # COMPAT: servers that leave it open who refreshes. Then we do: twice is better than never.
            self._start(found.seconds, found.refresher != "uas", now)

    # As a server

    def too_brief(self, request: Request) -> bool:
        """Whether to answer 422 (§9); who does not know the extension would not know the answer either."""
        found = interval(request)
        return found is not None and found.seconds < SHORTEST and "timer" in request.headers.tokens("Supported")

    def accept(self, request: Request, headers: Headers, now: float) -> None:
        """Add to our 2xx what table 2 of §9 wants."""
        asked = interval(request)
        knows = "timer" in request.headers.tokens("Supported") | request.headers.tokens("Require")
        if asked is None and not knows:
            self.stop()
            return
        self._minimum = max(self._minimum, minimum(request))
        # We may shorten what they ask for, to no less than anybody on the way wants.
        seconds = max(min(asked.seconds if asked else DEFAULT, DEFAULT), self._minimum)
        refresher = (asked.refresher if asked else "uas") or "uac"
        # What nobody asked for we do ourselves. COMPAT: telephones that say "timer" and then never refresh. And what a
        # proxy asked for, for a caller who does not know how, only we can do.
        if not knows or refresher not in ("uac", "uas"):
            refresher = "uas"
        headers.set("Session-Expires", f"{seconds};refresher={refresher}")
        if refresher == "uac":
            headers.set("Require", "timer")
        self._start(seconds, refresher == "uas", now)

    def _start(self, seconds: int, ours: bool, now: float) -> None:
        seconds = max(seconds, SHORTEST)
        self.seconds, self.ours = seconds, ours
        self._refresh_at = now + seconds / 2 if ours else None
        self._end_at = now + seconds - min(32.0, seconds / 3)  # §10
