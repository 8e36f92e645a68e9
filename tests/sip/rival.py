"""Sippy doing what tests/sip/speed.py asks of us; run by an interpreter that has it, and nothing of ours.

    rival.py parse                          µs to read an INVITE, look at seven fields, and write it
    rival.py in ADDRESS PORT                takes calls: 180, 200, until it is terminated
    rival.py out ADDRESS PORT N TOGETHER    places N calls to 127.0.0.3:15080, each hung up when it is answered

Its logger is silent, and there are no records or metrics: that is the most that it can do.
"""

# ruff: noqa: T201 -- it tells the bench by printing
# mypy: ignore-errors
from __future__ import annotations

import signal
import sys
import time

from sippy.CCEvents import CCEventConnect, CCEventDisconnect, CCEventFail, CCEventRing, CCEventTry
from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.SipCallId import SipCallId
from sippy.SipConf import SipConf
from sippy.SipRequest import SipRequest
from sippy.SipTransactionManager import SipTransactionManager
from sippy.Time.Timeout import Timeout
from sippy.UA import UA

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
PHONES = ("127.0.0.3", 15_080)


class Silence:
    def write(self, *_, **__): ...


def parse() -> None:
    text = sys.stdin.read().replace("\n", "\r\n")
    best = float("inf")
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(500):
            request = SipRequest(text)
            for name in ("via", "from", "to", "call-id", "cseq", "contact", "max-forwards"):
                request.getHFBody(name)
            str(request)
        best = min(best, (time.perf_counter() - began) / 500)
    print(best * 1e6)


def stack(address: str, port: int, on_request):
    settings = {"_sip_address": address, "_sip_port": port, "_sip_logger": Silence(), "nh_addr": (address, port)}
    SipConf.my_uaname = "rival"
    settings["_sip_tm"] = SipTransactionManager(settings, on_request)
    return settings


def takes(address: str, port: int) -> None:
    def on_request(request, transaction):
        if request.getHFBody("to").getTag() is not None:
            return request.genResponse(481, "Call Leg/Transaction Does Not Exist"), None, None
        return UA(settings, on_event).recvRequest(request, transaction)

    def on_event(event, ua) -> None:
        if isinstance(event, CCEventTry):
            ua.recvEvent(CCEventRing((180, "Ringing", None)))
            ua.recvEvent(CCEventConnect((200, "OK", MsgBody(SDP))))

    settings = stack(address, port, on_request)
    print("ready", flush=True)
    ED2.loop()


def places(address: str, port: int, total: int, together: int) -> None:
    state = {"begun": 0, "over": 0, "failed": 0}

    def call() -> None:
        if state["begun"] >= total:
            return
        state["begun"] += 1
        ua = UA(settings, on_event, nh_address=PHONES)
        ua.recvEvent(CCEventTry((SipCallId(), "romeo", "juliet", MsgBody(SDP), None, "Romeo")))

    def on_event(event, ua) -> None:
        if isinstance(event, CCEventConnect):
            Timeout(lambda: ua.recvEvent(CCEventDisconnect()), 0.0)  # its ACK leaves when this function has returned
        elif isinstance(event, CCEventFail | CCEventDisconnect):
            state["failed"] += 1
        else:
            return
        state["over"] += 1
        if state["over"] == total:
            print("over", state["failed"], flush=True)
            ED2.breakLoop()
        call()

    settings = stack(address, port, lambda request, _: (request.genResponse(501, "Not Implemented"), None, None))
    print("ready", flush=True)
    for _ in range(together):
        call()
    ED2.loop()
    signal.pause()  # until it is terminated: what its far end still repeats finds the socket open


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[3:]]
    {"parse": parse, "in": takes, "out": places}[sys.argv[1]](*sys.argv[2:3], *numbers)
