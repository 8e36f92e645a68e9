"""What each engine can do behind the seam, for `gateway check` and for whoever chooses one. Pure.

                 embedded              rtpengine
trickle          as it comes           each time by a new offer and answer
push             at once               asked for by polling; digits by the daemon's DTMF log
late calls       yes                   yes: every leg is offered before it is known who it talks with
test lines       yes                   no: a leg cannot hear itself
security cause   says so               a wrong fingerprint looks like media that never came
digits as tones  said and heard        said, and not heard
RTCP apart       for ends with two       no: clients that wait for two (Kaidan) find one
loss             counted, and reported what ends report, and not what never came here
[media]          all of it             its ports, addresses and limits are the daemon's own
strangers        counted as dropped    counted as received, and not heard either
recording        yes                   no: its own is written by another daemon
ICE restart      yes                   yes, once both ends are connected
video            yes                   not yet: calls have their audio alone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    trickle: bool
    push: bool
    late_calls: bool
    test_lines: bool
    tones: bool  # digits out of sound: trunks with dtmf = "inband"
    rtcp_component: bool  # for XMPP clients that mux nothing
    loss: bool  # packets of an end that never came are counted
    security_cause: bool
    recording: bool
    ice_restart: bool
    video: bool


CAPABILITIES: Mapping[str, Capabilities] = {
    "embedded": Capabilities(
        trickle=True,
        push=True,
        late_calls=True,
        test_lines=True,
        tones=True,
        rtcp_component=True,
        loss=True,
        security_cause=True,
        recording=True,
        ice_restart=True,
        video=True,
    ),
    "rtpengine": Capabilities(
        trickle=True,
        push=False,
        late_calls=True,
        test_lines=False,
        tones=False,
        rtcp_component=False,
        loss=False,
        security_cause=False,
        recording=False,
        ice_restart=True,
        video=False,
    ),
}
