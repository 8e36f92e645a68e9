from __future__ import annotations

import importlib.util
import secrets
import sys
from types import ModuleType

import pytest
from pylibsrtp import Policy, Session

from gateway.media import srtp
from gateway.media.rtp import Packet
from gateway.media.srtp import PROFILES, Keys, Profile, Srtp
from tests.media.ends import packet


def both(profile: Profile, in_place: bool) -> tuple[Srtp, Srtp, Packet, Packet]:
    one, other = (secrets.token_bytes(profile.key + profile.salt) for _ in range(2))
    a, b = Packet(), Packet()
    near = Srtp(Keys(profile, one, other), a, in_place=in_place)
    return near, Srtp(Keys(profile, other, one), b, in_place=in_place), a, b


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name.decode())
def test_what_one_end_protects_the_other_reads(profile: Profile, in_place: bool) -> None:
    near, far, a, b = both(profile, in_place)
    clear = packet(8, 1, 160, 7, b"sound" * 30)
    a.fill(clear)
    assert near.protect()
    assert b"sound" not in bytes(a)
    b.fill(bytes(a))
    assert far.unprotect()
    assert bytes(b) == clear


@pytest.mark.parametrize("in_place", [True, False])
def test_a_foreign_session_reads_it(in_place: bool) -> None:
    profile = PROFILES[0]
    near, _, a, _ = both(profile, in_place)
    key = secrets.token_bytes(profile.key + profile.salt)
    near = Srtp(Keys(profile, key, key), a, in_place=in_place)
    a.fill(clear := packet(8, 1, 160, 7, b"sound"))
    near.protect()
    assert Session(Policy(key, Policy.SSRC_ANY_INBOUND, srtp_profile=profile.policy)).unprotect(bytes(a)) == clear


@pytest.mark.parametrize("in_place", [True, False])
def test_repeated_changed_and_foreign_packets_are_refused(in_place: bool) -> None:
    near, far, a, b = both(PROFILES[0], in_place)
    a.fill(packet(8, 1, 160, 7, b"sound"))
    near.protect()
    good = bytes(a)
    b.fill(good)
    assert far.unprotect()
    for bad in (good, good[:-1] + bytes([good[-1] ^ 1]), packet(8, 2, 320, 7, b"sound"), b"\x80"):
        b.fill(bad)
        assert not far.unprotect()


@pytest.mark.parametrize("in_place", [True, False])
def test_no_number_is_protected_twice(in_place: bool) -> None:
    near, _, a, _ = both(PROFILES[0], in_place)
    a.fill(packet(8, 1, 160, 7, b"sound"))
    assert near.protect()
    a.fill(packet(8, 1, 160, 7, b"other"))
    assert not near.protect()


@pytest.mark.parametrize("in_place", [True, False])
def test_rtcp_has_its_own_protection(in_place: bool) -> None:
    near, far, a, b = both(PROFILES[1], in_place)
    report = b"\x80\xc9\x00\x01" + bytes(4)
    a.fill(report)
    assert near.protect_rtcp()
    b.fill(bytes(a))
    assert far.unprotect_rtcp()
    assert bytes(b) == report


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(Keys(PROFILES[0], b"secret", b"secret"))


@pytest.fixture
def without_binding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it is with a release of pylibsrtp that has its C binding elsewhere."""
    spec = importlib.util.spec_from_file_location("srtp_without_binding", srtp.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setitem(sys.modules, "pylibsrtp._binding", None)
    spec.loader.exec_module(module)
    return module


def test_another_release_of_pylibsrtp_protects_by_its_public_methods(without_binding: ModuleType) -> None:
    profile, sent = without_binding.PROFILES[0], Packet()
    key = secrets.token_bytes(profile.key + profile.salt)
    near = without_binding.Srtp(without_binding.Keys(profile, key, key), sent)
    sent.fill(clear := packet(8, 1, 160, 7, b"sound"))
    assert near.protect()
    assert Session(Policy(key, Policy.SSRC_ANY_INBOUND, srtp_profile=profile.policy)).unprotect(bytes(sent)) == clear


def test_without_the_binding_nothing_is_done_in_place(without_binding: ModuleType) -> None:
    profile = without_binding.PROFILES[0]
    key = secrets.token_bytes(profile.key + profile.salt)
    near = without_binding.Srtp(without_binding.Keys(profile, key, key), Packet())
    assert near.inward is None
    assert near.outward is None
    for function in (without_binding.PROTECT, without_binding.UNPROTECT):
        assert function(None, *without_binding.buffer(Packet())) != 0
