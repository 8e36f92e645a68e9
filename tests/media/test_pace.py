from __future__ import annotations

import asyncio

from gateway.media.pace import Pacer
from tests.media.ends import SAFETY


class Leg:
    def __init__(self, pacer: Pacer, beats: int) -> None:
        self.pacer, self.left, self.times, self.done = pacer, beats, list[float](), asyncio.Event()

    def fill(self, now: float) -> None:
        self.times.append(now)
        self.left -= 1
        if not self.left:
            self.pacer.watch(self, False)
            self.done.set()


async def test_who_is_watched_gets_every_beat_and_nobody_else_does() -> None:
    pacer = Pacer()
    one, two = Leg(pacer, 3), Leg(pacer, 5)
    for leg in (one, two, one):
        pacer.watch(leg, True)
    async with asyncio.timeout(SAFETY):
        await two.done.wait()
    assert (len(one.times), len(two.times)) == (3, 5)
    assert one.times == two.times[:3]
    assert two.times == sorted(set(two.times))


async def test_there_is_no_beat_for_nobody_and_a_new_one_for_the_next() -> None:
    pacer = Pacer()
    for _ in range(2):
        leg = Leg(pacer, 1)
        pacer.watch(leg, True)
        async with asyncio.timeout(SAFETY):
            await leg.done.wait()
            while pacer._timer is not None:  # noqa: ASYNC110 -- the beat that finds nobody
                await asyncio.sleep(0.001)


async def test_after_the_end_there_is_no_beat() -> None:
    pacer = Pacer()
    leg = Leg(pacer, 1)
    pacer.watch(leg, True)
    pacer.close()
    pacer.close()
    pacer.watch(leg, False)
    await asyncio.sleep(0)
    assert leg.times == []
