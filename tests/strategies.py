"""What hypothesis draws addresses from."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from gateway.addresses import SipUri

ODDITIES = string.ascii_letters + string.digits + "%\\;=:@ '\"&/<>+-_.!~*()$,?#[]{}|^`25340"
TEXT = st.text(
    st.one_of(st.sampled_from(ODDITIES), st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co"))),
    min_size=1,
    max_size=24,
)
LABEL = st.from_regex(r"[a-z](?:[a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True).filter(lambda text: text[2:4] != "--")
HOST = st.one_of(
    st.lists(LABEL, min_size=1, max_size=3).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: address.compressed),
    st.sampled_from(["xn--mnchen-3ya.example", "xn--r8jz45g.example"]),
)
NAME = st.from_regex(r"[a-z0-9!~*-]{1,6}", fullmatch=True)
URI = st.builds(
    SipUri,
    st.sampled_from(["sip", "sips"]),
    TEXT,
    HOST,
    st.one_of(st.none(), st.integers(1, 65535)),
    st.lists(st.tuples(NAME, st.one_of(st.none(), TEXT)), max_size=2).map(tuple),
)
