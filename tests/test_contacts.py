r"""Contacts by worked examples, then by properties."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from slixmpp import JID

from gateway.addresses import SipUri, host_of
from gateway.contacts import (
    MAX_LOCAL,
    Dialled,
    Name,
    contact,
    dialled,
    dialled_in,
    escape,
    folded,
    is_dialled,
    jid_of,
    local_of,
    mappable,
    unescape,
)
from gateway.errors import AddressError
from tests.steps import steps
from tests.strategies import HOST, TEXT, URI

# A canonical local part and the SIP URI it stands for, both ways.
CANONICAL = [
    (r"romeo%shakespeare.lit", "sip:romeo@shakespeare.lit"),
    (r"romeo%shakespeare.lit\3a5062", "sip:romeo@shakespeare.lit:5062"),
    (r"romeo%shakespeare.lit\3a5062;transport=tcp", "sip:romeo@shakespeare.lit:5062;transport=tcp"),
    (r"romeo%shakespeare.lit;transport=tls;lr", "sip:romeo@shakespeare.lit;transport=tls;lr"),
    (r"romeo%192.0.2.1", "sip:romeo@192.0.2.1"),
    (r"romeo%[2001\3adb8\3a\3a1]", "sip:romeo@[2001:db8::1]"),
    (r"romeo%[2001\3adb8\3a\3a1]\3a5062", "sip:romeo@[2001:db8::1]:5062"),
    (r"+12025550123%sbc.carrier.example", "sip:+12025550123@sbc.carrier.example"),
    (r"jürgen%shakespeare.lit", "sip:j%C3%BCrgen@shakespeare.lit"),
    (r"jürgen%münchen.example", "sip:j%C3%BCrgen@xn--mnchen-3ya.example"),
    (r"平仮名%例え.example", "sip:%E5%B9%B3%E4%BB%AE%E5%90%8D@xn--r8jz45g.example"),
    (r"d\27artagnan%musketeers.lit", "sip:d'artagnan@musketeers.lit"),
    (r"treville\20\26\20co%musketeers.lit", "sip:treville%20&%20co@musketeers.lit"),
    (r"juliet\40shakespeare.lit%example.net", "sip:juliet%40shakespeare.lit@example.net"),
    (r"a%b%example.net", "sip:a%25b@example.net"),
    (r"a\25%example.net", "sip:a%25@example.net"),
    (r"a\25\25b%example.net", "sip:a%25%25b@example.net"),
    (r"c\3a\net%example.net", r"sip:c%3A%5Cnet@example.net"),
    (r"c\3a\5c40%example.net", r"sip:c%3A%5C40@example.net"),
    (r"a;b=c\2fd%example.net", "sip:a;b=c/d@example.net"),
    (r"a%example.net;x=b\3bc\25d", "sip:a@example.net;x=b%3Bc%25d"),
    (r"sips\3aromeo%shakespeare.lit", "sips:romeo@shakespeare.lit"),
    (r"sip\3atel\3a911%example.net", "sip:tel%3A911@example.net"),
]

# Other spellings of the same.
SPELLINGS = [
    (r"romeo\40shakespeare.lit", r"romeo%shakespeare.lit"),
    (r"romeo\40shakespeare.lit\3a5062;transport=tcp", r"romeo%shakespeare.lit\3a5062;transport=tcp"),
    (r"romeo%shakespeare.lit:5062", r"romeo%shakespeare.lit\3a5062"),
    (r"Romeo%Shakespeare.LIT", r"romeo%shakespeare.lit"),
    (r"romeo%shakespeare.lit.", r"romeo%shakespeare.lit"),
    (r"romeo%xn--mnchen-3ya.example", r"romeo%münchen.example"),
    (r"romeo%[2001\3aDB8\3a0\3a0\3a\3a1]", r"romeo%[2001\3adb8\3a\3a1]"),
    (r"sip\3aromeo\40shakespeare.lit", r"romeo%shakespeare.lit"),
    (r"sip:romeo%shakespeare.lit", r"romeo%shakespeare.lit"),
    (r"romeo%shakespeare.lit;Transport=TCP", r"romeo%shakespeare.lit;transport=tcp"),
    (r"(202)\20555-0123", "2025550123"),
    ("+1 (202) 555-0123", "+12025550123"),
    ("+1.202.555.0123", "+12025550123"),
    (r"tel\3a+1-202-555-0123", "+12025550123"),
    ("Echo", "echo"),
]

UNMAPPABLE = [
    "",
    "@",
    "juliet@shakespeare.lit",
    "\u00ad",
    "ȴ",  # not in Unicode 3.2, which is what RFC 3454 knows
    "a%%b",
    "a%",
    "%b",
    "%%",
    "%",
    "+",
    "+1",
    "+12",
    "+1234567890123456",
    "+1*",
    "++12025550123",
    "+romeo",
    "1" * 33,
    "tel:",
    "tel:romeo",
    "sip:romeo",
    "romeo%",
    r"\40shakespeare.lit",
    "romeo%shakespeare..lit",
    "romeo%-shakespeare.lit",
    "romeo%shake speare.lit",
    "romeo%" + "a" * 64 + ".lit",
    "romeo%" + "a.b" * 100,
    "romeo%127.1",
    "romeo%0x7f000001",
    "romeo%0x7f.1",
    "romeo%017700000001",
    "romeo%2130706433",
    "romeo%192.0.2.256",
    "romeo%192.0.2.01",
    r"romeo%[192.0.2.1]",
    r"romeo%[fe80\3a\3a1%eth0]",
    r"romeo%2001\3adb8\3a\3a1",
    r"romeo%[2001\3adb8\3a\3a1]5060",
    r"romeo%[2001\3adb8\3a\3a1",
    r"romeo%shakespeare.lit\3a",
    r"romeo%shakespeare.lit\3a0",
    r"romeo%shakespeare.lit\3a65536",
    r"romeo%shakespeare.lit\3a٣",
    "romeo%shakespeare.lit;=tcp",
    "romeo%shakespeare.lit;ä=tcp",
    "romeo%a?to=b",
    r"romeo%\5b\3a\3a1",
    "romeo%☃.münchen.\u2024.example",
    "romeo%shakespeare.lit;a=" + "b" * MAX_LOCAL,
    r"\20romeo%shakespeare.lit",
    r"romeo%shakespeare.lit;a=\20",
    "ro\u0000meo%shakespeare.lit",
    "שלום%shakespeare.lit",  # RFC 3454 §6: one direction only
]


@pytest.mark.parametrize(("local", "uri"), CANONICAL)
def test_a_canonical_local_part_and_its_sip_uri_are_two_spellings_of_one(local: str, uri: str) -> None:
    found = contact(local)
    assert str(found) == uri
    assert local_of(SipUri.parse(uri)) == local
    assert SipUri.parse(uri) == found
    assert JID(f"{local}@sip.example.com").user == local
    assert mappable(local)


@pytest.mark.parametrize(("local", "canonical"), SPELLINGS)
def test_other_spellings_lead_to_the_canonical_one(local: str, canonical: str) -> None:
    assert local_of(contact(local)) == canonical
    assert contact(canonical) == contact(local) or canonical.lower() == local_of(contact(local))


@pytest.mark.parametrize("local", UNMAPPABLE)
def test_what_names_nothing_cannot_be_mapped(local: str) -> None:
    assert not mappable(local, lambda name: True)


@pytest.mark.parametrize("local", ["+12025550123", "2025550123", "911", "0", "*43#", "+1911", "(202) 555-0123"])
def test_whatever_could_be_dialled_is_mappable_without_asking_the_dialplan(local: str) -> None:
    assert isinstance(contact(local), Dialled)
    assert mappable(local)


def test_a_number_behind_a_service_code_is_dialled() -> None:
    assert contact("*67+1 (202) 555-0123") == Dialled("*67+12025550123")
    assert contact("*31#12025550123") == Dialled("*31#12025550123")
    for text in ("12+34", "*67++12025550123", "*67+", "+12025550123#", "*67+1*2"):
        with pytest.raises(AddressError):
            contact(text)


def test_a_name_is_mappable_when_there_is_one() -> None:
    assert contact("echo") == Name("echo")
    assert mappable("echo", lambda name: name == "echo")
    assert not mappable("nobody", lambda name: name == "echo")
    assert not mappable("echo")


def test_letters_are_never_read_as_digits() -> None:
    assert contact("flowers123") == Name("flowers123")
    assert contact("1-800-flowers") == Name("1-800-flowers")
    assert contact("*#") == Name("*#")


def test_digits_of_full_width_are_digits() -> None:
    assert contact("＋１（２０２）５５５－０１２３") == Dialled("+12025550123")
    assert contact(r"tel\3a９１１") == Dialled("911")


@pytest.mark.parametrize("text", ["٣٤٥", "+٣٤٥٦٧", "۹۱۱", "*४३#"])
def test_digits_of_other_scripts_are_refused_and_are_no_names(text: str) -> None:
    with pytest.raises(AddressError, match="its digits are not 0 to 9"):
        contact(text)


@pytest.mark.parametrize(
    ("text", "number", "extension", "context"),
    [
        ("+12025550123;ext=55", "+12025550123", "55", ""),
        ("(202) 555-0123;ext=5-5", "2025550123", "55", ""),
        ("+12025550123;isub=1;EXT=55;phone-context=+44", "+12025550123", "55", ""),
        ("863-1234;phone-context=+1-914-555", "8631234", "", "+1914555"),  # RFC 3966 §6
        ("7042;phone-context=Example.COM", "7042", "", "example.com"),
        ("911;", "911", "", ""),
    ],
)
def test_what_rfc_3966_puts_behind_a_number_is_kept(text: str, number: str, extension: str, context: str) -> None:
    found = dialled(text)
    assert found == Dialled(number, extension, context)
    assert contact(local_of(found)) == found
    assert dialled_in(SipUri.parse(f"tel:{text.replace(' ', '')}")) == found
    assert dialled_in(SipUri("sip", text, "carrier.example")) == found
    assert local_of(SipUri.parse(f"tel:{text.replace(' ', '')}")) == local_of(found)


@pytest.mark.parametrize(
    "parameters",
    [
        "ext=",
        "ext=1a",
        "ext=" + "1" * 21,
        "ext=1;ext=2",
        "phone-context=",
        "phone-context=+",
        "phone-context=+1a",
        "phone-context=+1234567890123456",
        "phone-context=a..b",
        "x=" + "y" * 400,
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: str) -> None:
    with pytest.raises(AddressError):
        dialled(f"2025550123;{parameters}")


def test_a_user_part_that_is_not_dialled_is_told_apart() -> None:
    assert dialled_in(SipUri("sip", "romeo", "shakespeare.lit")) is None
    assert dialled_in(SipUri("sip", None, "shakespeare.lit")) is None
    assert contact("front;desk") == Name("front;desk")


def test_the_urn_for_help_is_dialled() -> None:
    assert contact(r"urn\3aservice\3asos") == Dialled("urn:service:sos")
    assert contact("URN:service:SOS.police") == Dialled("urn:service:sos.police")
    assert local_of(Dialled("urn:service:sos")) == r"urn\3aservice\3asos"
    assert contact(r"urn\3aservice\3asoso") == Name("urn:service:soso")
    assert contact(r"urn\3aservice\3acounseling") == Name("urn:service:counseling")


@pytest.mark.parametrize(
    "text", ["9-1-1", "9 1 1", "(911)", "[911]", "9.1.1", "9/1/1", "９１１", "\u202a911\u202c", "9\u00ad11"]
)
def test_visual_separators_are_not_dialled(text: str) -> None:
    assert dialled(text) == Dialled("911")


def test_a_long_string_costs_no_more_steps_than_a_bounded_one() -> None:
    def read(text: str) -> None:
        for reading in (is_dialled, dialled, contact):
            with contextlib.suppress(AddressError):
                reading(text)

    for piece in ("1", "*", "-", "+", "１", "٣", "1;", ";ext=1", "é"):
        short, long = piece * MAX_LOCAL, piece * 10_240
        assert steps(read, long) <= steps(read, short) + 20, piece


def test_a_long_dialled_string_is_refused_before_it_is_read() -> None:
    with pytest.raises(AddressError, match="more than 32 digits"):
        dialled("1" * 10_000)
    with pytest.raises(AddressError, match="1023 bytes"):
        contact("1" * 10_000)
    with pytest.raises(AddressError, match="1023 bytes"):
        contact("é" * 600)
    with pytest.raises(AddressError, match="1023 bytes"):
        local_of(SipUri("sip", "é" * 600, "example.net"))


def test_tel_uris_are_dialled_strings() -> None:
    assert local_of(SipUri.parse("tel:+1-202-555-0123")) == "+12025550123"
    assert local_of(Dialled("911")) == "911"
    with pytest.raises(AddressError):
        SipUri.parse("tel:;phone-context=+1")


def test_a_name_with_syntax_in_it_is_escaped() -> None:
    assert local_of(Name("front desk")) == r"front\20desk"
    assert local_of(Name("100%")) == r"100\25"


def test_a_uri_without_a_user_has_no_local_part() -> None:
    with pytest.raises(AddressError, match="without a user"):
        local_of(SipUri.parse("sip:shakespeare.lit"))


def test_a_host_that_only_looks_international_stays_as_it_is() -> None:
    assert local_of(SipUri("sip", "a", "xn--a.example")) == "a%xn--a.example"


# XEP-0106 §5, examples -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("space cadet", r"space\20cadet"),
        ('call me "ishmael"', r"call\20me\20\22ishmael\22"),
        ("at&t guy", r"at\26t\20guy"),
        ("d'artagnan", r"d\27artagnan"),
        ("/.fanboy", r"\2f.fanboy"),
        ("::foo::", r"\3a\3afoo\3a\3a"),
        ("<foo>", r"\3cfoo\3e"),
        ("user@host", r"user\40host"),
        (r"c:\net", r"c\3a\net"),
        (r"c:\\net", r"c\3a\\net"),
        (r"c:\cool stuff", r"c\3a\cool\20stuff"),
        (r"c:\5commas", r"c\3a\5c5commas"),
        (r"foo\bar", r"foo\bar"),
        (r"foo\41r", r"foo\41r"),
    ],
)
def test_escaping_follows_the_examples_of_xep_0106(text: str, local: str) -> None:
    assert escape(text) == local
    assert unescape(local) == text


# How SIP users name ours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "jid"),
    [
        ("sip:juliet%40shakespeare.lit@sip.example.com", "juliet@shakespeare.lit"),
        ("sip:juliet%shakespeare.lit@sip.example.com", "juliet@shakespeare.lit"),
        ("sip:Juliet%25Shakespeare.lit@sip.example.com", "juliet@shakespeare.lit"),
        ("sip:d%5C27artagnan%40musketeers.lit@sip.example.com", r"d\27artagnan@musketeers.lit"),
        ("sip:d'artagnan%40musketeers.lit@sip.example.com", r"d\27artagnan@musketeers.lit"),
        ("sip:juliet%40xn--mnchen-3ya.example@sip.example.com", "juliet@münchen.example"),
        ("sip:juliet@sip.example.com", None),
        ("sip:%40shakespeare.lit@sip.example.com", None),
        ("sip:juliet%40@sip.example.com", None),
        ("sip:juliet%40-@sip.example.com", None),
        ("sip:sip.example.com", None),
    ],
)
def test_the_user_part_of_our_uris_names_a_jid(uri: str, jid: str | None) -> None:
    assert jid_of(SipUri.parse(uri)) == jid


@pytest.mark.parametrize("jid", ["juliet@shakespeare.lit", r"d\27artagnan@musketeers.lit", "jürgen@münchen.example"])
def test_a_user_presented_to_sip_is_found_again(jid: str) -> None:
    uri = SipUri("sip", jid, "sip.example.com")
    assert jid_of(SipUri.parse(str(uri))) == jid


def test_our_users_are_written_with_an_escaped_at_sign() -> None:
    uri = SipUri("sip", "juliet@shakespeare.lit", "sip.example.com")
    assert str(uri) == "sip:juliet%40shakespeare.lit@sip.example.com"


# Properties ----------------------------------------------------------------------------------------------------------


def same(uri: SipUri) -> SipUri:
    """The URI with its case folded."""
    values = tuple((name, None if value is None else folded(value)) for name, value in uri.parameters)
    return SipUri(uri.scheme, folded(uri.user or ""), uri.host, uri.port, values)


@given(URI)
@example(SipUri("sip", r"\25", "h"))
@example(SipUri("sip", "\xad", "h"))
@example(SipUri("sip", "sip:a", "h", None, (("x", r"\3b;%"),)))
def test_from_sip_to_jid_and_back_is_equality_after_case_folding(uri: SipUri) -> None:
    try:
        local = local_of(uri)
    except AddressError:
        return  # no JID carries it, and it is refused as such
    assert contact(local) == same(uri)


@given(st.one_of(TEXT, URI.map(str), st.builds("{}%{}".format, TEXT, HOST)))
@example("a%b%c")
@example(r"a\40b%c")
@example(r"\5c40%c")
def test_from_jid_to_sip_and_back_is_the_identity_on_canonical_local_parts(text: str) -> None:
    try:
        local = local_of(contact(text))
    except AddressError:
        return
    assert local_of(contact(local)) == local
    assert mappable(local, lambda name: True)
    assert JID(f"{local}@sip.example.com").user == local


@given(st.text(max_size=60))
def test_nothing_that_a_peer_sends_is_worse_than_an_address_error(text: str) -> None:
    for read in (contact, SipUri.parse, lambda text: SipUri.parse("sip:" + text), host_of, dialled):
        try:
            read(text)
        except AddressError:
            continue


@given(TEXT)
def test_unescaping_undoes_escaping(text: str) -> None:
    assert unescape(escape(text)) == text


WRITTEN = st.text(
    st.sampled_from("0123456789+*# -.()/\u00a0\u202a０１９；;ext=phone-context=+1example.com:urn:service:sos"),
    max_size=40,
)


@given(st.one_of(WRITTEN, st.builds("{};ext={};phone-context={}".format, WRITTEN, WRITTEN, WRITTEN)))
def test_reading_what_was_written_as_it_was_read_changes_nothing(text: str) -> None:
    try:
        found = dialled(text)
    except AddressError:
        return
    assert dialled(str(found)) == found
    assert contact(local_of(found)) == found
    assert is_dialled(text)
