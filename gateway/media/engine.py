"""The seam between signalling and media: session facts in, session facts out.

A call has legs, named by the switchboard ("caller", "callee1", …). Asking a callee and answering a caller are separate
acts, because in "late" calls (XEP-0353) the INVITE leaves before the caller's session exists:

    allocate(call, leg, kind)                        -> our transport, to offer or to answer with
    allocate_video(call, leg, kind)              -> the same for the video beside a voice, which is a leg like any other
    connect(call, leg, remote, stream, peer)         the far end is known; bridged with `peer` once both are connected
    release(call, leg)                                  one leg; without a leg the whole call

The engine owns sockets, ICE, DTLS, SRTP, RTP and codecs; signalling owns both session descriptions and the choice of
codecs.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.call.causes import Cause
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

VIDEO = ".video"  # what the name of a video's leg has behind that of the voice


class LegKind(enum.StrEnum):
    """What a leg speaks: ICE with DTLS-SRTP on one component (two without rtcp-mux), or plain RTP with latching."""

    WEBRTC = "webrtc"
    RTP = "rtp"


@dataclass(frozen=True, slots=True)
class LegStatistics:
    """Counters of one leg since it was allocated; packets and octets of RTP."""

    received_packets: int = 0
    received_octets: int = 0
    sent_packets: int = 0
    sent_octets: int = 0
    dropped: tuple[tuple[str, int], ...] = ()  # named reasons, "stranger", "replay", …
    codec: str = ""
    connected: bool = False
    lost: int = 0  # packets of this end that never came
    jitter: float = 0.0  # ms, of what this end sends (RFC 3550 §6.4.1)
    far_lost: int = 0  # packets of ours that this end misses, as it reports
    far_jitter: float = 0.0  # ms, as it reports
    round_trip: float | None = None  # ms between us and this end, by its reports
    mos: float | None = None  # 1 to 4.5: how this end's voice arrives here, an estimate (G.107)
    far_mos: float | None = None  # how ours arrives there, by its reports


@dataclass(frozen=True, slots=True)
class Connected:
    """Media can flow on this leg: ICE and DTLS are done, or the first RTP packet latched."""

    call: str
    leg: str


@dataclass(frozen=True, slots=True)
class Lost:
    """This leg's media failed or stopped, and why."""

    call: str
    leg: str
    cause: Cause  # MEDIA_FAILED, MEDIA_LOST, SECURITY, INTERNAL (the worker died)
    text: str


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit was heard on this leg, as telephone-event or tones; it has gone on to a peer that takes either."""

    call: str
    leg: str
    digit: str
    duration: int  # ms


@dataclass(frozen=True, slots=True)
class PictureWanted:
    """Somebody needs a whole picture of this leg's end, with which no RTCP feedback was agreed."""

    call: str
    leg: str


MediaEvent = Connected | Lost | Digit | PictureWanted


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call's recording: the file's name in the folder of recordings, and why it is not whole, "" if it is."""

    file: str
    fault: str = ""


class MediaEngine(Protocol):
    """Every method may raise MediaError, and nothing else. `on_event` is called on the event loop."""

    on_event: Callable[[MediaEvent], None]
    video: bool  # whether allocate_video() does anything but fail

    async def start(self) -> None:
        """Be ready to allocate. Raises MediaError."""

    async def stop(self) -> None:
        """End every call's media and all workers."""

    async def allocate(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
        ip: int | None = None,
        near: bool = False,
    ) -> Transport:
        """Our end of this leg. `controlling` is the ICE role: true for whoever offers (RFC 8445 §6.1.1). `sdes` asks
        for SRTP keys on an RTP leg (RFC 4568): one for each suite we can do. Without `rtcp_mux` an ICE leg has a second
        component for RTCP, which is given up when the stream of connect() is muxed after all.

        For an RTP leg `ip`, 4 or 6, is the version that its far end has, where that is known: the leg has it too, if
        this engine does. A leg that is `near` has another one of this engine for its far end: no policy of addresses is
        for it, and no stranger gets at it.

        Asked again for the same leg it answers the same.
        """

    async def allocate_video(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        bundled: bool = False,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
    ) -> Transport:
        """A leg for the video of an end whose voice has the leg that this one is named after ("caller.video").

        `bundled`: on the transport of that leg, which is there already; connect() then only needs the stream.
        """

    async def connect(
        self,
        call: str,
        leg: str,
        remote: Transport,
        stream: Stream,
        *,
        peer: str | None = None,
        setup: Setup = Setup.ACTIVE,
    ) -> None:
        """The far end is known: start ICE and DTLS (`setup` is our own, active or passive), or send and latch.

        On an RTP leg `remote.crypto` is empty, or the one key that was agreed: ours is that of the same suite.

        Returns at once; Connected or Lost follows. Called again for a re-offer: the latch is re-armed. Peers hear each
        other and nobody else: the last pairing that was asked for holds, and without `peer` it stays as it is.
        """

    async def ask_picture(self, call: str, leg: str) -> None:
        """Ask the end of this leg, a video's, for a whole picture, by RTCP if that was agreed."""

    async def candidates(
        self, call: str, leg: str, candidates: tuple[Candidate, ...], *, ice: Ice | None = None, complete: bool = False
    ) -> None:
        """More candidates of the far end (trickle)."""

    async def restart(self, call: str, leg: str, ice: Ice) -> Transport:
        """The far end restarted ICE with these credentials (RFC 8445 §9): our new ones, the same ports and candidates.

        The old path carries media until the new one is found. Raises MediaError for a leg that has no ICE.
        """

    async def play(self, call: str, leg: str, prompt: str) -> None:
        """Play a named prompt to this leg, in place of what its peer says: "echo", "warning" and "notice" once; "hold"
        and "ringback" until `stop`.
        """

    async def stop_playing(self, call: str, leg: str) -> None:
        """End a prompt; the leg hears its peer again. Harmless where nothing plays."""

    async def loop(self, call: str, leg: str) -> None:
        """From now on (after a prompt that is playing) this leg hears itself."""

    async def dtmf(self, call: str, leg: str, digits: str, duration: int = 100) -> None:
        """Send digits to this leg's end (RFC 4733)."""

    async def record(self, call: str, name: str) -> None:
        """From now on write what the call's ends say to each other to a file of this name, letters, digits and hyphens;
        its suffix is the engine's. The caller is the left channel.

        Recorded is what one end says and the other may hear: no prompts, nothing that is said on hold, no digits.
        """

    async def recorded(self, call: str) -> Recorded | None:
        """End the recording, and complete its file; None where nothing was recorded."""

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        """Give a leg's or a call's media back; the counters it had. Unknown calls and legs are none."""

    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        """Counters per leg; empty for an unknown call."""
