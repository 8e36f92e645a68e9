"""What can be played to a leg, by name, and its frames in the leg's codec, encoded once for all who hear them.

echo        the test line's greeting, a file of this package, once
warning     three pips: the call is about to end, once
ringback, busy    the network's tones in the operator's region, or another one by suffix: `busy-gb`; until stopped
notice      that the call is recorded: the operator's file (as below), else a tone, once
hold        music: the operator's file (WAV, or Opus in Ogg), else music of our own; until stopped
"""

from __future__ import annotations

import functools
import io
import pathlib
import re
import wave
from dataclasses import dataclass, field

from gateway.errors import MediaError
from gateway.media import ogg, opus, tones
from gateway.media.g711 import audioop
from gateway.media.transcode import RATE, Framed
from gateway.session.model import Codec

PACKAGED = pathlib.Path(__file__).parent / "prompts"
MAX_FILE = 32 * 1024 * 1024  # bytes
MAX_SECONDS = 600
_NAME = re.compile(r"(?P<name>[a-z0-9]{1,32})(-(?P<region>[a-z]{2}))?")


@dataclass(frozen=True, slots=True)
class Sound:
    """PCM at 8 kHz, 16 bit, mono. `endless` is played round and round until it is stopped."""

    name: str
    pcm: bytes = field(repr=False)
    endless: bool = False


class Prompts:
    """The sounds that one worker knows. `hold` and `notice` are the operator's files, `region` a country's code
    (ISO 3166).
    """

    def __init__(self, hold: str = "", region: str = "", notice: str = "") -> None:
        """Raises MediaError for a file that cannot be played."""
        self._region = region
        self._hold = Sound("hold", _operators(hold) if hold else tones.music(), endless=True)
        self._notice = Sound("notice", _operators(notice) if notice else tones.notice())

    def named(self, name: str) -> Sound:
        """Raises MediaError for an unknown one."""
        found = _NAME.fullmatch(name)
        if found is not None:
            region = found["region"] or self._region
            match found["name"]:
                case "hold":
                    return self._hold
                case "notice":
                    return self._notice
                case "ringback":
                    return Sound(name, tones.ringback(region), endless=True)
                case "busy":
                    return Sound(name, tones.busy(region), endless=True)
                case "warning":
                    return Sound(name, tones.warning())
                case packaged:
                    return _packaged(packaged)
        raise MediaError(f"no prompt named {name!r}")


NOISE = Sound("comfort noise", tones.noise(), endless=True)


def _operators(name: str) -> bytes:
    try:
        return read(pathlib.Path(name))
    except MediaError as error:
        raise MediaError(f"{name} cannot be played: {error}") from error


@functools.lru_cache(maxsize=16)
def _packaged(name: str) -> Sound:
    file = PACKAGED / f"{name}.wav"
    if not file.exists():
        raise MediaError(f"no prompt named {name!r}")
    return Sound(name, read(file))


def read(file: pathlib.Path) -> bytes:
    """The samples of a WAV file of any usual shape, or of an Opus file; at most `MAX_SECONDS`. Raises MediaError."""
    try:
        if file.stat().st_size > MAX_FILE:
            raise MediaError(f"it is larger than {MAX_FILE} bytes")
        data = file.read_bytes()
        pcm = _opus(data) if data.startswith(b"OggS") else _wav(data)
    except (OSError, EOFError, wave.Error, audioop.error) as error:
        raise MediaError(
            (isinstance(error, OSError) and error.strerror) or str(error) or "it ends too early"
        ) from error
    if not pcm:
        raise MediaError("there is no sound in it")
    return pcm


def _wav(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as sound:
        rate, width, channels = sound.getframerate(), sound.getsampwidth(), sound.getnchannels()
        if channels not in (1, 2):
            raise MediaError(f"{channels} channels, where one or two are played")
        pcm = sound.readframes(MAX_SECONDS * rate)
    if width == 1:
        pcm = audioop.bias(pcm, 1, -128)  # of one byte WAV's samples have no sign
    pcm = audioop.lin2lin(pcm, width, 2)
    if channels == 2:
        pcm = audioop.tomono(pcm, 2, 0.5, 0.5)
    return pcm if rate == RATE else audioop.ratecv(pcm, 2, 1, rate, RATE, None)[0]


def _opus(data: bytes) -> bytes:
    skip, found = ogg.opus(data)
    decoder, pieces, room = opus.Decoder(), [], MAX_SECONDS * RATE * 2
    for packet in found:
        pieces.append(decoder.decode(packet))
        room -= len(pieces[-1])
        if room < 0:
            break
    return b"".join(pieces)[skip * RATE // 48_000 * 2 :]


class Encoded:
    """A sound in one codec, in frames of at most `ptime` ms. Frames are encoded when they are first asked for."""

    def __init__(self, sound: Sound, codec: Codec, ptime: int) -> None:
        self._framed = Framed(codec, ptime)
        self.frame_ms = self._framed.frame_ms
        self._endless = sound.endless
        size = self._framed.ticks * 2
        # A loop is cut to whole frames, which is not heard; what ends is filled up.
        rest = -len(sound.pcm) % size
        self._pcm = sound.pcm[: max(size, len(sound.pcm) // size * size)] if sound.endless else sound.pcm + bytes(rest)
        self._frames: list[bytes] = []
        self._size = size

    def __len__(self) -> int:
        """Frames; of an endless sound, those of one turn."""
        return max(1, len(self._pcm) // self._size)

    def frame(self, number: int) -> bytes | None:
        """None behind the end."""
        if number >= len(self):
            if not self._endless:
                return None
            number %= len(self)
        while len(self._frames) <= number:
            at = len(self._frames) * self._size
            self._frames += self._framed.feed(self._pcm[at : at + self._size].ljust(self._size, b"\0"))
        return self._frames[number]


@functools.lru_cache(maxsize=64)
def encoded(sound: Sound, name: str, ptime: int) -> Encoded:
    """`name` is the codec's. What is made is kept, for others who hear the same. Raises MediaError."""
    return Encoded(sound, Codec(0, name, RATE), ptime)
