"""gateway.sip.reasons: why a call ended, read and written."""

from __future__ import annotations

from gateway.call.causes import Cause
from gateway.sip.message import Headers, Request, Response
from gateway.sip.reasons import Why, reason_headers, warning, why, why_refused


def bye(reason: str, name: str = "BYE") -> Request:
    return Request(name, "sip:a@b", Headers([("Reason", reason)]))


def refused(code: int, reason: str) -> Response:
    return Response(code, "So", Headers([("Reason", reason)]))


def test_reasons_are_read() -> None:
    assert why(bye("Q.850;cause=16"), Cause.INTERNAL) == Why(Cause.NORMAL, "", 16)
    assert why(bye("nonsense, Q.850;cause=19"), Cause.NORMAL) == Why(Cause.NO_ANSWER, "", 19)
    assert why(bye('SIP;cause=486, q.850;cause=17;text="so"'), Cause.NORMAL) == Why(Cause.BUSY, "so", 17)
    assert why(bye("SIP;cause=486"), Cause.NORMAL) == Why(Cause.BUSY)
    assert why(bye("SIP;cause=200"), Cause.NORMAL) == Why(Cause.NORMAL)
    assert why(bye("SIP;cause=200", "CANCEL"), Cause.CANCELLED) == Why(Cause.ELSEWHERE)
    assert why(bye("FOO;cause=1"), Cause.NORMAL) == Why(Cause.NORMAL)
    assert why(bye("Q.850;cause=999"), Cause.NORMAL) == Why(Cause.NORMAL)
    assert why(bye("Q.850;cause=127"), Cause.NORMAL) == Why(Cause.NORMAL, "", 127)


def test_a_vague_status_is_explained_by_the_telephone_network() -> None:
    assert why_refused(refused(500, "Q.850;cause=1")) == Why(Cause.NOT_FOUND, "500 So", 1)
    assert why_refused(refused(480, "Q.850;cause=19")) == Why(Cause.NO_ANSWER, "480 So", 19)
    assert why_refused(refused(503, "Q.850;cause=31")) == Why(Cause.CONGESTION, "503 So", 31)
    assert why_refused(refused(486, "Q.850;cause=34")) == Why(Cause.BUSY, "486 So", 34)
    assert why_refused(refused(404, "nonsense")) == Why(Cause.NOT_FOUND, "404 So")


def test_reasons_are_written() -> None:
    assert reason_headers(Cause.BUSY, "") == {"Reason": 'Q.850;cause=17;text="busy"'}
    assert reason_headers(Cause.BUSY, "so", 34) == {"Reason": 'Q.850;cause=34;text="so"'}
    assert reason_headers(Cause.ELSEWHERE, "")["Reason"].startswith('SIP;cause=200;text="Call completed elsewhere", Q')
    assert warning('a "b"\r\n') == '399 gateway "a  b   "'


def test_what_a_user_cannot_pay_is_nothing_for_the_other_side() -> None:
    for cause in (Cause.EXHAUSTED, Cause.FROZEN, Cause.UNBOOKED):
        assert reason_headers(cause, "abroad: 5.00 EUR a day")["Reason"].endswith(';text="ended by the gateway"')
