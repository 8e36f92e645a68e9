"""gateway.sip.locate: the order of RFC 3263, with a DNS that is a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from gateway.addresses import SipUri
from gateway.sip.locate import Answer, Naptr, Question, Srv, anyone, literal, ordered, search, transport_of
from gateway.sip.targets import Target

TABLE: dict[tuple[str, str], Answer] = {
    ("full.example", "NAPTR"): [
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.full.example"),
        Naptr(50, 10, "S", "SIP+D2T", "_sip._tcp.full.example"),
        Naptr(60, 10, "s", "SIP+D2U", "_sip._udp.full.example"),
        Naptr(10, 10, "s", "SIP+D2S", "_sip._sctp.full.example"),  # which we do not speak
        Naptr(10, 10, "u", "SIP+D2U", "_sip._udp.full.example"),
        Naptr(10, 10, "s", "SIP+D2U", ""),
    ],
    ("_sips._tcp.full.example", "SRV"): [Srv(1, 0, 5061, "main.example")],
    ("_sip._tcp.full.example", "SRV"): [Srv(1, 0, 5062, "main.example")],
    ("_sip._udp.full.example", "SRV"): [Srv(1, 0, 5063, "main.example")],
    ("_sip._udp.srv.example", "SRV"): [Srv(20, 0, 5080, "backup.example"), Srv(10, 5, 5070, "main.example")],
    ("_sip._tcp.srv.example", "SRV"): [Srv(1, 1, 5071, "main.example")],
    ("_sip._tcp.stream.example", "SRV"): [Srv(1, 1, 1, "main.example")],
    ("_sip._udp.closed.example", "SRV"): [Srv(0, 0, 0, "")],
    ("main.example", "A"): ["192.0.2.1"],
    ("main.example", "AAAA"): ["2001:db8::1"],
    ("backup.example", "A"): ["192.0.2.2"],
    ("plain.example", "A"): ["192.0.2.3"],
    ("closed.example", "A"): ["192.0.2.4"],
    ("pbx", "HOST"): ["192.0.2.8", "192.0.2.8"],
    ("odd.example", "A"): ["no address", "192.0.2.9"],
}


def found(
    uri: str, permit: Callable[[str], bool] = anyone, chance: Callable[[], float] = lambda: 0.0
) -> tuple[list[Target], list[Question]]:
    """The targets, and what was asked for them."""
    asked: list[Question] = []
    steps = search(SipUri.parse(uri), permit, chance)
    try:
        questions = next(steps)
        while True:
            asked += questions
            questions = steps.send(tuple(TABLE.get((each.name, each.kind), ()) for each in questions))
    except StopIteration as end:
        return end.value, asked


def targets(uri: str, permit: Callable[[str], bool] = anyone) -> list[Target]:
    return found(uri, permit)[0]


def test_the_domain_says_which_services_it_prefers() -> None:
    """The lowest order that has one we speak; within it TCP is preferred to TLS."""
    assert targets("sip:a@full.example") == [
        Target("TCP", "192.0.2.1", 5062),
        Target("TCP", "2001:db8::1", 5062),
        Target("TLS", "192.0.2.1", 5061),
        Target("TLS", "2001:db8::1", 5061),
    ]


def test_sips_is_never_sent_in_the_clear() -> None:
    assert {target.transport for target in targets("sips:a@full.example")} == {"TLS"}
    assert targets("sips:a@srv.example") == []  # it has no _sips service, and no address of its own
    assert targets("sips:a@plain.example") == [Target("TLS", "192.0.2.3", 5061)]
    assert targets("sips:a@plain.example;transport=tcp") == [Target("TLS", "192.0.2.3", 5061)]
    assert targets("sips:a@plain.example;transport=udp") == []


def test_services_come_by_priority_with_all_their_addresses() -> None:
    assert targets("sip:a@srv.example") == [
        Target("UDP", "192.0.2.1", 5070),
        Target("UDP", "2001:db8::1", 5070),
        Target("UDP", "192.0.2.2", 5080),
    ]
    assert targets("sip:stream.example")[0] == Target("TCP", "192.0.2.1", 1)


def test_a_transport_that_is_named_asks_for_its_services_alone() -> None:
    result, asked = found("sip:a@srv.example;transport=tcp")
    assert result[0] == Target("TCP", "192.0.2.1", 5071)
    assert [question.kind for question in asked] == ["SRV", "A", "AAAA"]


def test_a_port_that_is_named_asks_for_no_services() -> None:
    result, asked = found("sip:a@plain.example:5999")
    assert result == [Target("UDP", "192.0.2.3", 5999)]
    assert asked == [Question("plain.example", "A"), Question("plain.example", "AAAA")]


def test_without_services_the_host_itself_is_asked() -> None:
    assert targets("sip:a@plain.example") == [Target("UDP", "192.0.2.3", 5060)]
    assert targets("sip:a@plain.example;transport=tls") == [Target("TLS", "192.0.2.3", 5061)]
    assert targets("sip:a@plain.example;transport=ws") == [Target("WS", "192.0.2.3", 80)]
    assert targets("sips:a@plain.example;transport=ws") == [Target("WSS", "192.0.2.3", 443)]
    assert targets("sip:a@nowhere.example") == []


def test_a_service_that_is_decidedly_not_there_is_not_looked_for_elsewhere() -> None:
    assert targets("sip:a@closed.example") == []


def test_literal_addresses_ask_nobody() -> None:
    assert found("sip:[2001:db8::9]:5070") == ([Target("UDP", "2001:db8::9", 5070)], [])
    assert found("sip:a@srv.example;maddr=192.0.2.9") == ([Target("UDP", "192.0.2.9", 5060)], [])
    assert found("sips:a@192.0.2.9") == ([Target("TLS", "192.0.2.9", 5061)], [])
    assert literal(SipUri.parse("sip:example.com"), anyone) is None


def test_names_of_this_machine_are_known_without_dns() -> None:
    result, asked = found("sip:pbx")
    assert result == [Target("UDP", "192.0.2.8", 5060)]
    assert asked == [Question("pbx", "HOST")]


@pytest.mark.parametrize("name", ["localhost", "evil.localhost"])
def test_localhost_is_this_machine_whoever_is_asked(name: str) -> None:
    result, asked = found(f"sip:{name}")
    assert [target.host for target in result] == ["127.0.0.1", "::1"]
    assert asked == []


def test_every_address_needs_a_permit() -> None:
    assert targets("sip:main.example:5060", lambda address: ":" in address) == [Target("UDP", "2001:db8::1", 5060)]
    assert targets("sip:192.0.2.1", lambda _: False) == []


def test_ways_that_we_do_not_speak_lead_nowhere() -> None:
    for uri in ("sip:a@192.0.2.1;transport=sctp", "tel:+12025550123", "sips:a@192.0.2.1;transport=udp"):
        assert found(uri) == ([], [])
    assert transport_of(SipUri.parse("sips:a@b.example;transport=sctp")) == ""


def test_an_answer_that_is_no_address_is_left_out() -> None:
    assert targets("sip:odd.example:5060") == [Target("UDP", "192.0.2.9", 5060)]


def test_weights_are_chances() -> None:
    """RFC 2782: over all draws each server comes first in proportion to its weight."""
    records = [Srv(1, 60, 1, "a"), Srv(1, 30, 2, "b"), Srv(1, 10, 3, "c"), Srv(0, 0, 4, "first"), Srv(2, 0, 5, "last")]
    orders = [[record.target for record in ordered(records, lambda at=step: at / 1010)] for step in range(1010)]  # type: ignore[misc]
    assert {order[0] for order in orders} == {"first"}
    assert {order[-1] for order in orders} == {"last"}
    firsts = Counter(order[1] for order in orders)
    assert [round(firsts[name], -2) for name in "abc"] == [600, 300, 100]


def test_a_server_without_weight_is_chosen_seldom_and_not_never() -> None:
    records = [Srv(1, 0, 1, "weightless"), Srv(1, 100, 2, "heavy")]
    assert ordered(records, lambda: 0.5)[0].target == "heavy"
    assert ordered(records, lambda: 0.0)[0].target == "weightless"


def test_what_one_answer_can_have_us_do_is_bounded() -> None:
    TABLE["_sip._udp.many.example", "SRV"] = [Srv(1, 1, 5060, "many-hosts.example")] * 500
    TABLE["many-hosts.example", "A"] = [f"192.0.2.{number}" for number in range(256)]
    result, asked = found("sip:many.example")
    assert len(result) == 8
    assert len(asked) < 30
