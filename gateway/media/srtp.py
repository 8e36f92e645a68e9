"""SRTP (RFC 3711, 7714) in place, on the one packet that is being handled.

pylibsrtp's public methods copy a packet three times and raise an exception for each stranger's packet. Its C binding
does the same work in the buffer itself, for a third of the time. The binding is private, so the package is pinned, and
whenever it looks different from what is expected the public methods take over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from pylibsrtp import Error, Policy, Session

from gateway.media.rtp import Packet

try:
    from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found,unused-ignore]  # a C module without types
except ImportError:  # another release of pylibsrtp
    ffi = lib = None


def _absent(context: Any, data: Any, length: Any) -> int:
    return 1  # not done: what cannot be protected is not sent


# Called as function(native.context, *buffer(packet)), with the length in and out; they return 0 when it is done.
PROTECT: Callable[[Any, Any, Any], int] = getattr(lib, "srtp_protect", _absent)
UNPROTECT: Callable[[Any, Any, Any], int] = getattr(lib, "srtp_unprotect", _absent)
WINDOW = 128  # packets that may be overtaken and are still taken (RFC 3711 §3.3.2: at least 64)


@dataclass(frozen=True, slots=True)
class Profile:
    """A protection profile of DTLS-SRTP (RFC 5764 §4.1.2, RFC 7714 §14.2); lengths of key and salt in bytes."""

    name: bytes
    policy: int
    key: int
    salt: int


PROFILES = (
    Profile(b"SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    Profile(b"SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a handshake came to: master key and salt of each direction."""

    profile: Profile
    sending: bytes
    receiving: bytes

    def __repr__(self) -> str:
        return f"Keys({self.profile.name.decode()})"


@dataclass(frozen=True, slots=True)
class Native:
    """One direction of a leg as libsrtp knows it, for who calls it without any function in between (lane.py)."""

    context: Any = field(repr=False)


def buffer(packet: Packet) -> tuple[Any, Any]:
    """The packet's data and length as libsrtp takes them, the same for all legs of a worker."""
    if packet.native is None and ffi is not None:
        packet.native = ffi.from_buffer("char[]", packet.data, require_writable=True), ffi.new("int *")
    return cast(tuple[Any, Any], packet.native or (None, None))


class Srtp:
    """Both directions of one leg. Each method works on the packet in place and says whether it may go on.

    `inward` and `outward` are None where only pylibsrtp's public methods are at hand.
    """

    def __init__(self, keys: Keys, packet: Packet, *, in_place: bool = True) -> None:
        self._policy, self._packet, self._in_place = keys.profile.policy, packet, in_place
        send = Policy(keys.sending, Policy.SSRC_ANY_OUTBOUND, srtp_profile=self._policy)
        # Sending never repeats an index: with the same number for two packets a stream cipher gives both away.
        send.window_size = WINDOW
        self._send = Session(send)
        self.protect = self._made(self._send, "protect")
        self.protect_rtcp = self._made(self._send, "protect_rtcp")
        self.outward = self._native(self._send)
        self.expect(keys.receiving)

    def expect(self, receiving: bytes) -> None:
        """From now on the far end sends with this key; what we send goes on as it was."""
        receive = Policy(receiving, Policy.SSRC_ANY_INBOUND, srtp_profile=self._policy)
        receive.window_size = WINDOW
        self._receive = Session(receive)
        self.unprotect = self._made(self._receive, "unprotect")
        self.unprotect_rtcp = self._made(self._receive, "unprotect_rtcp")
        self.inward = self._native(self._receive)

    def _native(self, session: Session) -> Native | None:
        return Native(session._srtp[0]) if self._in_place and lib is not None and hasattr(session, "_srtp") else None

    def _made(self, session: Session, name: str) -> Callable[[], bool]:
        native = self._native(session)
        return self._copying(self._packet, session, name) if native is None else self._direct(native, name)

    def _direct(self, native: Native, name: str) -> Callable[[], bool]:
        packet, context, function = self._packet, native.context, getattr(lib, f"srtp_{name}")
        data, length = buffer(packet)

        def work() -> bool:
            length[0] = packet.length
            if function(context, data, length):
                return False
            packet.length = length[0]
            return True

        return work

    @staticmethod
    def _copying(packet: Packet, session: Session, name: str) -> Callable[[], bool]:
        function: Callable[[bytes], bytes] = getattr(session, name)

        def work() -> bool:
            try:
                packet.fill(function(bytes(packet)))
            except (Error, ValueError):
                return False
            return True

        return work
