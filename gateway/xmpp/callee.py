"""The callee's leg: a contact calls a user, on all of his devices at once.

    dial()
      │   presence with the request for his; propose to the bare JID; session-initiate, each with its own sid, to every
      ▼   device that does Jingle but not JMI (never both ways to one device)
    ASKING ──────────── a device's proceed: session-initiate to it, same sid ──────> PROCEEDED
      │                                                                                  │ session-accept
      │ session-accept of a device that was asked directly                               ▼
      ├────────────────────────────────────────────────────────────────────────────── TALKING
      │ reject; busy or decline of a device; the propose bounced and nobody is left; hang_up(): retract
      ▼
    ENDED   (from every state: hang_up(), the device's session-terminate, its going away)

The first device to answer wins: the others' sessions are cancelled, the propose is retracted or finished. A `proceed`
is a person's answer, so that it stops the others too. They see a carbon of it, and of a reject; for those that do not
understand it there is a retract: to their full JIDs when the call is up, to all when nobody has it.

It rings when a device says so. Some say nothing (Dino): after two seconds of silence it counts as ringing if a device
is known to be there, else nobody can tell (a telephone that has to be woken first). One that comes later counts in the
same way; if none comes within 45 seconds the user is not there.
"""

from __future__ import annotations

import enum
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from gateway.call.causes import Cause, from_jingle
from gateway.call.events import Answered, HungUp, Leg, Notice, Ringing, Waking
from gateway.errors import JingleError
from gateway.session import jingle as spelling
from gateway.session.model import Session
from gateway.xmpp import session as machine
from gateway.xmpp import stanzas
from gateway.xmpp.presence import Device
from gateway.xmpp.rung import PLAIN_RECEIPT, RECEIPT, RINGING, Rung
from gateway.xmpp.session import Accepted, Ended, Ignored, JingleSession, LegOutput, RequestPresence, Rings, Send

SILENCE = 2.0  # seconds after which a device that is there counts as ringing
UNHEARD = 45.0  # seconds after which nobody is there if nothing was heard of any device: a push takes its time
ACCEPT_WITHIN = 20.0  # seconds from proceed to session-accept
NO_ANSWER_AFTER = 29.0  # seconds: COMPAT: Conversations, up to 2.19: rejects by itself at 30 s, like a person would
MOST_DIRECT = 10  # sessions without JMI in one attempt
MOST_KEPT = 50  # notices of one such session before it is accepted

_ELSEWHERE = spelling.Reason("cancel", "answered elsewhere")


class State(enum.Enum):
    ASKING = enum.auto()
    PROCEEDED = enum.auto()
    TALKING = enum.auto()
    ENDED = enum.auto()


class CalleeLeg:
    """`user` is a bare JID, `voice` the contact's full JID; `sid` is the propose's, and direct sessions extend it.

    `subscribed`: the two see each other's presence, so that all of the user's devices are known.
    """

    def __init__(
        self,
        user: str,
        voice: str,
        sid: str,
        prefix: str,
        attempt: int,
        ask_presence: bool = True,
        subscribed: bool = False,
    ) -> None:
        self.user = user
        self.contact = stanzas.bare(voice)
        self.sid = sid
        self.state = State.ASKING
        self._voice = voice
        self._prefix = prefix
        self._ask_presence = ask_presence
        self._subscribed = subscribed
        self.attempt = attempt
        self._offer: Session | None = None
        self._chosen: JingleSession | None = None  # after proceed, or the first to accept
        self._direct: dict[str, JingleSession] = {}  # by sid, while they ring
        self._kept: dict[str, list[Notice]] = {}  # by sid: candidates of those, of use only if they answer
        self._sessions = 0
        self._rung = Rung()
        self._told: set[str] = set()  # who was proposed to a second time
        self._proposed = False  # the propose is out and has neither bounced nor been taken
        self._proceeded = False  # some device took it
        self._rang = False
        self._dialled_at = 0.0
        self._silence: float | None = None
        self._until: float | None = None
        self._worst = (Cause.UNAVAILABLE, "")

    @property
    def deadline(self) -> float | None:
        times = [self._silence, self._until, self._chosen.deadline if self._chosen else None]
        return min((at for at in times if at is not None), default=None)

    @property
    def sids(self) -> tuple[str, ...]:
        """Every sid that this leg answers to."""
        chosen = () if self._chosen is None else (self._chosen.sid,)
        return (self.sid, *self._direct, *chosen)

    @property
    def busy(self) -> bool:
        """Whether a further call of the contact to this user would be taken for this one."""
        return self.state in (State.PROCEEDED, State.TALKING)

    def talks_with(self, device: str) -> bool:
        """Whether the call is up, with this device."""
        return self.state is State.TALKING and self._chosen is not None and device == self._chosen.theirs

    # --- what the call does (LegControl)

    def dial(self, offer: Session, devices: tuple[Device, ...], now: float) -> list[LegOutput]:
        if self._offer is not None or self.state is not State.ASKING:
            return []
        self._offer = offer
        self._dialled_at = now
        self._silence, self._until = now + SILENCE, now + UNHEARD
        self._proposed = True
        sent: list[LegOutput] = [RequestPresence()] if self._ask_presence else []
        sent.append(Send(stanzas.jmi("propose", self.sid, self.user, self._voice, media=_kinds(offer))))
        for device in devices:
            sent += self.seen(device, now)
        return sent

    def hold(self, held: bool) -> list[LegOutput]:
        return [] if self._chosen is None else self._only_sent(self._chosen.hold(held))

    def restart(self, ours: Session) -> list[LegOutput]:
        return [] if self._chosen is None else self._only_sent(self._chosen.restart(ours))

    def hang_up(self, cause: Cause, text: str, now: float) -> list[LegOutput]:
        if self.state is State.ENDED:
            return []
        text = machine.said(cause, text)
        reason = spelling.Reason(cause.jingle, text)
        sent = self._cancel_direct(cause, text)
        if self._chosen is not None:
            sent += self._only_sent(self._chosen.terminate(cause.jingle, text))
            if self._proceeded:
                sent.append(self._jmi("finish", self._chosen.theirs, reason))
        return [*sent, *self._retract(reason), *self._close()]

    def overruled(self) -> list[LegOutput]:
        """The user calls this very contact at this moment, and his call has the lower sid (XEP-0353 §4.1).

        His device waits for us to take its call and does not ring for ours (Conversations, Monal). Ours gets out of the
        way, so that the contact is not busy with calling.
        """
        if self.state is not State.ASKING:
            return []
        sent: list[LegOutput] = []
        if self._proposed:
            self._proposed = False
            reason = spelling.Reason("expired", "Tie-Break")
            sent.append(Send(stanzas.jmi("retract", self.sid, self.user, self._voice, reason=reason, tie=True)))
        return [*sent, *self._over(Cause.BUSY, "the user calls this contact")]

    # --- what the user's devices do

    def seen(self, device: Device, now: float) -> list[LegOutput]:
        """A device is there, or is known better: it may want to be asked directly, or once more."""
        if self.state is not State.ASKING or self._offer is None:
            return []
        since = self._rung.seen(device, now)
        if since is None:
            return []
        if self._silence is None and not self._rang:
            self._silence = now + SILENCE  # this one is there to ring
        able = device.abilities
        if able is not None and able.jmi and able.mobile and since > self._dialled_at + SILENCE:
            return self._woken(device.jid)
        if able is None or able.jmi or not able.direct or self._sessions >= MOST_DIRECT:
            return []
        if any(session.theirs == device.jid for session in self._direct.values()):
            return []
        self._sessions += 1
        session = self._new_session(f"{self.sid}-{self._sessions}", device.jid, self._sessions)
        self._direct[session.sid] = session
        return self._only_sent(session.initiate(self._offer))

    def _woken(self, device: str) -> list[LegOutput]:
        """A telephone that was not there: the propose that its server kept woke it by a push.

        COMPAT: Conversations (MessageParser, processJingleMessage) reads a kept propose as a call that it missed, and
        rings for a new one. Others know the id already. Dino, which is no telephone, would take it for a second call.
        """
        if device in self._told or not self._proposed or len(self._told) >= MOST_DIRECT:
            return []
        self._told.add(device)
        media = () if self._offer is None else _kinds(self._offer)
        return [Send(stanzas.jmi("propose", self.sid, device, self._voice, private=True, media=media))]

    def jmi(self, spoken: stanzas.JmiMessage, device: str, now: float) -> list[LegOutput]:
        """A Jingle message of one of the user's devices."""
        match spoken.kind:
            case "ringing":
                self._rung.said(device, RINGING)
                return self._ringing() or [Ignored("ringing again")]
            case "proceed":
                return self._proceed(device, now)
            case "reject" if self.state is State.ASKING:
                return self._rejected(spoken.reason, now)
            case "reject" if (
                self.state is State.PROCEEDED and self._chosen is not None and device == self._chosen.theirs
            ):
                # COMPAT: Conversations (rejectCallFromProceed): hung up before our session-initiate was there.
                sent = self._only_sent(self._chosen.terminate("cancel"))
                return sent + self._over(Cause.DECLINED, "" if spoken.reason is None else spoken.reason.text)
            case _:
                # finish and retract belong to sessions, which end by session-terminate
                return [Ignored(f"JMI {spoken.kind} out of order")]

    def receipt(self, of: str, device: str, asked: str) -> list[LegOutput]:
        """A device got the propose, and says so to this JID of ours. It counts as ringing: some ring without a word.

        COMPAT: Gajim 2.5, Psi and Kaidan up to 0.15 give a receipt for whatever asks for one, and know no calls.
        """
        if of != f"jm-propose-{self.sid}":
            return [Ignored("receipt of nothing")]
        self._rung.said(device, PLAIN_RECEIPT if asked == self.contact else RECEIPT)
        if not self._rung.knows_calls(device):
            return [Ignored("receipt of a device without calls")]
        return self._ringing() or [Ignored("ringing again")]

    def bounced(self, kind: str, error: ET.Element) -> list[LegOutput]:
        """A Jingle message of ours came back. Of the propose: not from a single device but from the server?"""
        of_all = kind == "propose" and not stanzas.resource(error.get("from", ""))
        if not of_all or not self._proposed or self.state is not State.ASKING:
            return [Ignored("JMI error")]
        said = stanzas.condition(error)
        self._proposed = False
        self._worst = (machine.unreachable(said), said.text or said.name)
        return self._give_up_if_alone()

    def receive(self, request: ET.Element, element: ET.Element) -> list[LegOutput]:
        """A Jingle request. Raises JingleError."""
        session = self._session(element.get("sid", ""), request.get("from", ""))
        if session is None:
            raise JingleError("no such session", "item-not-found", "unknown-session")
        return self._translated(session, session.receive(request, element))

    def answered(self, reply: ET.Element, now: float) -> list[LegOutput]:
        """The reply to a request of ours."""
        for session in (*self._direct.values(), *(() if self._chosen is None else (self._chosen,))):
            if session.theirs == reply.get("from", ""):
                outputs = session.answered(reply, now)
                if outputs != [Ignored("reply to nothing")]:
                    return self._translated(session, outputs)
        return [Ignored("reply to nothing")]

    def departed(self, device: str, now: float) -> list[LegOutput]:
        """A device is unavailable to the contact."""
        self.unseen(device)
        for session in (*self._direct.values(), *(() if self._chosen is None else (self._chosen,))):
            if session.theirs == device:
                return self._translated(session, session.departed(now))
        return []

    def unseen(self, device: str) -> None:
        """A device is unavailable to somebody here: it cannot be counted on any more."""
        self._rung.gone(device)

    def ping(self, now: float, patience: float) -> list[LegOutput]:
        chosen = self._chosen
        return [] if chosen is None else self._translated(chosen, chosen.ping(now, patience))

    def tick(self, now: float) -> list[LegOutput]:
        if self._until is not None and now >= self._until:
            return self._never_accepted() if self.state is State.PROCEEDED else self._never_heard()
        told: list[LegOutput] = []
        if self._silence is not None and now >= self._silence:
            self._silence = None
            took = any(session.acknowledged for session in self._direct.values())
            if took or (self._proposed and self._rung.somebody_listens):
                told += self._ringing()
            elif self._proposed and not self._rang:
                told.append(Waking(self.attempt))
        if self._chosen is not None:
            told += self._translated(self._chosen, self._chosen.tick(now))
        return told

    # --- steps

    def _ringing(self) -> list[LegOutput]:
        if self._rang or self.state is not State.ASKING:
            return []
        self._rang = True
        self._silence = self._until = None
        return [Ringing(self.attempt)]

    def _proceed(self, device: str, now: float) -> list[LegOutput]:
        if self._chosen is not None and self._chosen.theirs == device:
            return [Ignored("JMI proceed out of order")]  # said twice
        if self.state is not State.ASKING or not self._proposed or self._offer is None:
            return self._too_late(device)
        self.state = State.PROCEEDED
        self._proposed, self._proceeded = False, True
        self._silence, self._until = None, now + ACCEPT_WITHIN
        cancelled = self._cancel_direct(Cause.ELSEWHERE)
        self._chosen = self._new_session(self.sid, device, 0)
        return self._only_sent(self._chosen.initiate(self._offer)) + cancelled

    def _stop_ringing(self) -> Iterator[Send]:
        """Devices see a carbon of another's proceed (XEP-0353 §5), and not all understand it.

        COMPAT: Movim (2026-08), borogove (2026-08) and Kaidan (QXmpp 1.16) ring on without this. To full JIDs alone,
        and not at once: to Dino a retract is the end of the call that it has just taken, and what is for a device that
        goes away at this moment would be given to it (RFC 6121 §8.5.3.2.1).
        """
        if self.state is not State.PROCEEDED or self._chosen is None:
            return
        for device in self._rung.within_reach:
            if device != self._chosen.theirs:
                yield self._jmi("retract", device, _ELSEWHERE, private=True)

    def _too_late(self, device: str) -> list[LegOutput]:
        """It waits for a session. COMPAT: Conversations 2.19 and Siskin know only the one, Monal only the other."""
        return [self._jmi(kind, device, _ELSEWHERE, private=True) for kind in ("retract", "finish")]

    def _rejected(self, reason: spelling.Reason | None, now: float) -> list[LegOutput]:
        """One device's reject is for all of them (XEP-0353 §3.5)."""
        if reason is not None:
            cause = _refusal(from_jingle(reason.condition))
        else:
            cause = Cause.NO_ANSWER if now - self._dialled_at >= NO_ANSWER_AFTER else Cause.BUSY
        # The others see a carbon of it, which not all understand. Nobody has the call, so that all may hear it.
        others = self._retract(spelling.Reason("cancel", "declined elsewhere"))
        return [*others, *self._over(cause, "" if reason is None else reason.text)]

    def _accepted(self, session: JingleSession, answer: Session) -> list[LegOutput]:
        sent: list[LegOutput] = [*self._stop_ringing()]
        if session is not self._chosen:
            self._direct.pop(session.sid, None)
            self._chosen = session
            sent = [
                *self._cancel_direct(Cause.ELSEWHERE),
                *self._retract(_ELSEWHERE),
            ]
        self.state = State.TALKING
        self._silence = self._until = None
        return [*sent, Answered(self.attempt, answer), *self._kept.pop(session.sid, ())]

    def _lost(self, session: JingleSession, cause: Cause, text: str) -> list[LegOutput]:
        """A session ended, not by us."""
        if session is self._chosen:
            return self._over(_refusal(cause) if self.state is State.PROCEEDED else cause, text)
        self._direct.pop(session.sid, None)
        self._kept.pop(session.sid, None)
        cause = _refusal(cause)
        if cause in (Cause.BUSY, Cause.DECLINED):  # a person's word, as a reject is
            return self._over(cause, text)
        self._worst = (cause, text)
        return self._give_up_if_alone()

    def _give_up_if_alone(self) -> list[LegOutput]:
        return [] if self._proposed or self._direct else self._over(*self._worst)

    def _never_heard(self) -> list[LegOutput]:
        self._until = None
        return self._over(Cause.UNAVAILABLE, f"no sign of a device within {UNHEARD:.0f} s")

    def _never_accepted(self) -> list[LegOutput]:
        self._until = None
        sent: list[LegOutput] = []
        if self._chosen is not None:
            sent += self._only_sent(self._chosen.terminate("timeout"))
            sent.append(self._jmi("finish", self._chosen.theirs, spelling.Reason("timeout")))
        return sent + self._over(Cause.UNAVAILABLE, f"no session-accept within {ACCEPT_WITHIN:.0f} s of proceed")

    def _over(self, cause: Cause, text: str) -> list[LegOutput]:
        reason = spelling.Reason("cancel")
        sent = [*self._cancel_direct(Cause.CANCELLED), *self._retract(reason)]
        return [*sent, *self._close(), HungUp(Leg.CALLEE, cause, self.attempt, text)]

    def _close(self) -> list[LegOutput]:
        """Nobody has the call any more: may all be told so, at the bare JID, of a call that was answered?

        COMPAT: Siskin (7.4) neither understands that another device took the call nor says that it rings, nor ever
        stops; where its presence may be unknown it may be ringing still, and understands a retract. The others do not
        mind one for a call that is over: Conversations (JingleConnectionManager: out of order), Monal
        (MLVoIPProcessor: after proceed), Dino, Kaidan and borogove know the id no more. But Movim (2026-08) writes
        "Missed call" for each one (JingleRetract.php), below the call that its user had: where it is heard nobody is
        told, and a Siskin beside it rings until its user looks.
        """
        others = [*self._stop_ringing()]
        if self._proceeded and not self._subscribed and not self._rung.movim_is_there:
            others.append(self._jmi("retract", self.user, _ELSEWHERE))
        self.state = State.ENDED
        self._silence = self._until = None
        return [*others]

    def _cancel_direct(self, cause: Cause, text: str = "") -> list[LegOutput]:
        sessions, self._direct = tuple(self._direct.values()), {}
        return [output for session in sessions for output in self._only_sent(session.terminate(cause.jingle, text))]

    def _retract(self, reason: spelling.Reason) -> list[LegOutput]:
        if not self._proposed:
            return []
        self._proposed = False
        return [self._jmi("retract", self.user, reason)]

    # --- small things

    def _new_session(self, sid: str, device: str, number: int) -> JingleSession:
        prefix = f"{self._prefix}{number}-"
        return JingleSession(sid, self._voice, device, prefix=prefix, leg=Leg.CALLEE, attempt=self.attempt)

    def _session(self, sid: str, device: str) -> JingleSession | None:
        session = self._direct.get(sid)
        if session is None and self._chosen is not None and self._chosen.sid == sid:
            session = self._chosen
        return session if session is not None and session.theirs == device else None

    def _jmi(self, kind: str, to: str, reason: spelling.Reason, *, private: bool = False) -> Send:
        return Send(stanzas.jmi(kind, self.sid, to, self._voice, reason=reason, private=private))

    def _only_sent(self, outputs: list[machine.Output]) -> list[LegOutput]:
        return [output for output in outputs if isinstance(output, Send)]

    def _translated(self, session: JingleSession, outputs: list[machine.Output]) -> list[LegOutput]:
        """What happened to one session, in the call's words."""
        told: list[LegOutput] = []
        for output in outputs:
            match output:
                case Accepted(answer):
                    told += self._accepted(session, answer)
                case Rings():
                    told += self._ringing()
                case Ended(cause, text):
                    told += self._lost(session, cause, text)
                case Notice() if session is not self._chosen:
                    # All devices were made one offer: only the candidates of the one that answers may reach its media.
                    kept = self._kept.setdefault(session.sid, [])
                    if len(kept) < MOST_KEPT:
                        kept.append(output)
                    else:
                        told.append(Ignored("too many candidates"))
                case Send() | Ignored() | Notice():
                    told.append(output)
        return told


def _kinds(offer: Session) -> tuple[str, ...]:
    """The media of an offer: "audio", or "audio" and "video"."""
    return tuple(media.kind for media in offer.media)


def _refusal(cause: Cause) -> Cause:
    """Before the answer a callee that ends the call with success or cancel has declined it."""
    return Cause.DECLINED if cause in (Cause.NORMAL, Cause.CANCELLED, Cause.ELSEWHERE) else cause
