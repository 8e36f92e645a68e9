"""Calls with video, as the clients make and take them, through a trunk that has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.media.engine import PictureWanted
from gateway.session import sdp
from gateway.session.model import Codec, Media, Session, Transport
from gateway.sip.message import Message, Request
from tests.clients.borogove import Borogove
from tests.clients.cheogram import Cheogram
from tests.clients.conversations import Conversations
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.kaidan import Kaidan
from tests.clients.monal import Monal
from tests.clients.movim import Movim
from tests.clients.siskin import Siskin
from tests.clients.stanzajs import StanzaJs
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, OUR_NUMBER, Scene
from tests.support import phone_session

# How each says that it talks.
CLIENTS: dict[type[Any], str] = {
    Conversations: "Connected",
    Cheogram: "Connected",
    Monal: "Connected",
    Siskin: "connected",
    Dino: "connected",
    Movim: "connected",
    Kaidan: "connected",
    StanzaJs: "connected",
    Borogove: "ongoing",
}
EVERY_CLIENT = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)


@pytest.fixture
def scene(home: Home) -> Scene:
    """The number is in Juliet's roster, and its trunk has video."""
    home.knows(CONTACT)
    routing = home.scene.switchboard.routing
    trunk = replace(routing.plan.trunks["carrier"], video=True)
    routing.plan = replace(routing.plan, trunks={"carrier": trunk})
    return home.scene


def with_camera(*codecs: Codec, port: int = 40_002) -> Session:
    """What a telephone with a camera says."""
    found = codecs or (Codec(96, "VP8", 90_000, feedback=("nack pli",)), Codec(97, "H264", 90_000, 1, H264))
    camera = Media("video", "video", found, Transport("192.0.2.10", port, port + 1), rejected=not port)
    return Session((replace(phone_session().media[0], name="audio"), camera))


H264 = (("packetization-mode", "1"), ("profile-level-id", "42e01f"))


def read(message: Message) -> Session:
    return sdp.parse(message.body.decode())


async def offers_camera_again(scene: Scene, invite: Request) -> Session:
    """A re-INVITE of the telephone with its camera, and what it is answered."""
    again = scene.phone._inside(invite, "INVITE", 7)
    again.headers.add("Content-Type", "application/sdp")
    again.body = sdp.render(with_camera()).encode()
    scene.phone._say(again)
    return read(await scene.phone.answer_to(again))


def pictures(scene: Scene) -> dict[object, object]:
    """The legs that carry pictures, and whom each is connected with."""
    connected = [asked for asked in scene.engine.asked if asked[0] == "connect"]
    return {leg: facts[2] for _, leg, *facts in connected if str(leg).endswith(".video")}


BOTH = {"caller.video": "callee1.video", "callee1.video": "caller.video"}


async def calls(home: Home, client: type[Any]) -> Any:
    made = client(home)
    await passes(5)  # until it knows what the number can
    made.call(CONTACT, video=True)
    return made


@EVERY_CLIENT
async def test_a_user_with_a_camera_calls_a_telephone_with_one(home: Home, scene: Scene, client: type[Any]) -> None:
    caller = await calls(home, client)
    invite = await scene.phone.hears("INVITE")
    offered = read(invite)
    assert [(media.kind, media.rejected) for media in offered.media] == [("audio", False), ("video", False)]
    assert offered.video is not None
    assert offered.video.codecs
    scene.phone.answers(invite, 200, with_camera(*offered.video.codecs))
    await caller.until(CLIENTS[client])
    assert pictures(scene) == BOTH
    assert caller.complaints == []
    caller.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).cause == "normal"


# Kaidan ends a call whose answer lacks one of its contents, and bundles none that could be taken in and discarded.
@pytest.mark.parametrize("client", [c for c in CLIENTS if c is not Kaidan], ids=lambda client: client.__name__)
async def test_a_user_with_a_camera_talks_to_a_telephone_without(home: Home, scene: Scene, client: type[Any]) -> None:
    caller = await calls(home, client)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, with_camera(port=0))
    await caller.until(CLIENTS[client])
    assert pictures(scene) == {}
    assert caller.complaints == []
    caller.hang_up()
    await scene.over()


@EVERY_CLIENT
async def test_a_user_who_calls_without_video_offers_none(home: Home, scene: Scene, client: type[Any]) -> None:
    caller = client(home)
    await passes(5)
    caller.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    assert [media.kind for media in read(invite).media] == ["audio"]
    scene.phone.answers(invite, 200, phone_session())
    await caller.until(CLIENTS[client])
    caller.hang_up()
    await scene.over()


@EVERY_CLIENT
async def test_a_telephone_with_a_camera_calls_a_user(home: Home, scene: Scene, client: type[Any]) -> None:
    callee = client(home)
    await passes(5)
    scene.phone.confirming = True
    scene.phone.calls(OUR_NUMBER, with_camera())
    await callee.until("Incoming call" if client in (Conversations, Cheogram, Monal, Siskin) else "incoming")
    callee.answer()
    answer = read(await scene.phone.hears_back("200 OK"))
    assert [media.kind for media in answer.media] == ["audio", "video"]
    assert not answer.media[0].rejected
    if answer.video is not None:
        assert pictures(scene) == BOTH
    await callee.until(CLIENTS[client])
    assert callee.complaints == []
    callee.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).cause == "normal"


async def test_the_button_for_video_is_lit_where_there_is_video(home: Home, scene: Scene) -> None:
    movim = Movim(home)
    await movim.lights(CONTACT)
    assert "video" in movim.buttons(CONTACT)


async def test_a_telephone_without_rtcp_feedback_asks_and_is_asked_for_pictures_in_signalling(
    home: Home, scene: Scene
) -> None:
    caller = await calls(home, Conversations)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, with_camera())
    await caller.until("Connected")
    await scene.phone.hears("ACK")
    (call,) = scene.switchboard._lines
    scene.engine.on_event(PictureWanted(call, "callee1.video"))
    info = await scene.phone.hears("INFO")
    assert info.headers.get("Content-Type") == "application/media_control+xml"
    assert b"picture_fast_update" in info.body
    scene.phone.answers(info, 200)
    ours = scene.phone._inside(invite, "INFO", 8)
    ours.headers.add("Content-Type", "application/media_control+xml")
    ours.body = info.body
    scene.phone._say(ours)
    assert (await scene.phone.answer_to(ours)).status_code == 200
    await passes(1)
    assert ("ask_picture", "caller.video") in scene.engine.asked
    caller.hang_up()
    await scene.over()


async def test_a_session_refresh_of_the_telephone_keeps_the_picture(home: Home, scene: Scene) -> None:
    caller = await calls(home, Conversations)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, with_camera())
    await caller.until("Connected")
    await scene.phone.hears("ACK")
    answer = await offers_camera_again(scene, invite)
    assert answer.video is not None
    assert pictures(scene) == BOTH
    caller.hang_up()
    await scene.over()


async def test_a_camera_that_a_telephone_turns_on_later_is_declined_and_the_call_goes_on(
    home: Home, scene: Scene
) -> None:
    caller = Conversations(home)
    await passes(5)
    caller.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session())
    await caller.until("Connected")
    await scene.phone.hears("ACK")
    answer = await offers_camera_again(scene, invite)
    assert [(media.kind, media.rejected) for media in answer.media] == [("audio", False), ("video", True)]
    assert pictures(scene) == {}
    caller.hang_up()
    await scene.over()
