"""What a decision costs: `make bench-dialplan`. Not a test; nothing here passes or fails by a clock.

Ten thousand rules, shuffled: 40 % with lists of prefixes, 20 % regular expressions, 20 % user globs, 10 % hours, 10 %
types. Calls are spread over all of them, one in ten matches no rule. Files are written, read, checked and asked as
`gateway check` and a call do it; a decision includes reading what was dialled, and nobody calls a number twice.

Then the same with limits: what a call books in a database before anybody is asked, one call at a time and many at once,
in SQLite and in a PostgreSQL server that is started for it, each as it is in service, with every answer on the disk.
Beside it stands what a sync takes on this disk by itself, and how late the event loop was at worst meanwhile.
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberType

from gateway.dialplan import examples, load, numbers
from gateway.dialplan.booking import Tariff
from gateway.dialplan.plan import Plan, Refusal, Request, Route, route
from gateway.ops.serve import spare_collections
from gateway.storage.bookings import Ask, Bookings, Granted
from tests.storage.postgres import Server

RULES = 10_000
TARGET_DECISION, TARGET_LOAD = 150.0, 3.0  # µs, s
TARGET_BOOKED = {"SQLite": 1.0, "PostgreSQL": 3.0}  # ms
USERS = 500
LIMITS = """
prices = "carrier"
[[budget]]
name = "all calls"
user = "*"
calls_per_hour = 100
minutes_per_day = 600
[[budget]]
name = "spending"
user = "*"
spend_per_day = "20 EUR"
[[burst]]
name = "hammering"
user = "*"
calls = 50
within = 60
[[prices]]
name = "carrier"
file = "prices.csv"
currency = "EUR"
"""
PRICES = "prefix,connect,per_minute\n" + "".join(f"{prefix},0.01,0.0{prefix}\n" for prefix in range(1, 10))
MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEAD = """
[numbers]
region = "US"
unassigned = "route"
zone = "Europe/London"
[emergency]
action = "refuse"
[[trunk]]
name = "carrier"
proxy = "sip:192.0.2.1"
from = "+12025550100"
"""
TYPES = {
    "mobile": PhoneNumberType.MOBILE,
    "fixed_line": PhoneNumberType.FIXED_LINE,
    "toll_free": PhoneNumberType.TOLL_FREE,
    "premium_rate": PhoneNumberType.PREMIUM_RATE,
    "voip": PhoneNumberType.VOIP,
}
Dial = Callable[[], tuple[str, str]]  # caller and local part


def rules_of(chance: random.Random, prefixes: int) -> tuple[list[str], list[Dial]]:
    """The matches of all rules, and for each how to dial it."""
    matches: list[str] = []
    dials: list[Dial] = []
    ours = "juliet@shakespeare.lit"

    def digits(count: int) -> str:
        return "".join(chance.choice("0123456789") for _ in range(count))

    def add(match: str, dial: Callable[..., tuple[str, str]]) -> None:
        matches.append(match)
        dials.append(dial)

    # Each kind of rule has a part of the numbers for itself, so that calls reach all of them.
    share = max(1, prefixes // (RULES * 4 // 10))
    for number in range(RULES * 4 // 10):
        # Germany: area codes and blocks below them, from four to eight digits.
        own = [f"+49{3 + number % 6}{number:04}{extra:03}"[: 8 + extra % 4] + f"{extra:03}" for extra in range(share)]
        listed = ", ".join(f'"{prefix}*"' for prefix in own)
        add(f'kind = "number", number = [{listed}]', lambda own=own: (ours, chance.choice(own) + digits(1)))
    for number in range(RULES * 2 // 10):
        area, block = 200 + number % 700, number // 700
        if number % 10:
            pattern = rf"\\+1({area})({block + 2}\\d\\d|55{block})\\d{{4}}"
            add(f'kind = "number", regex = "{pattern}"', lambda a=area, b=block: (ours, f"+1{a}{b + 2}{digits(6)}"))
        else:  # known by its end alone
            end = f"{number * 37 % 100_000:05}"
            add(f'kind = "number", regex = ".*{end}"', lambda end=end: (ours, f"+1212{digits(2)}{end}"))
    for number in range(RULES * 2 // 10):
        match number % 3:
            case 0:
                match, dial = f'user = "romeo{number}.*"', f"romeo{number}.{number}%montague.example"
            case 1:
                match, dial = f'user = "*.tybalt{number}"', f"sir.tybalt{number}%capulet.example"
            case _:
                match, dial = f'user = "p{number}-*-nurse"', f"p{number}-the-nurse%capulet.example"
        add(f'kind = "uri", {match}', lambda dial=dial: (ours, dial))
    for number in range(RULES // 10):
        hours = f'"Mon-Fri {number % 10:02}:{number % 60:02}-1{4 + number % 5}:00", "Sat 09:00-1{number % 10}:30"'
        prefix = f"+44{1200 + number % 1000}"
        add(f'kind = "number", number = "{prefix}*", hours = [{hours}]', lambda p=prefix: (ours, p + digits(6)))
    combinations = [
        (region, type_, phonenumbers.format_number(known, phonenumbers.PhoneNumberFormat.E164))
        for type_, code in TYPES.items()
        for region in sorted(numbers.REGIONS - {"US", "CA", "DE", "GB"})
        if (known := phonenumbers.example_number_for_type(region, code))
    ]
    for number in range(RULES // 10):
        region, type_, example = combinations[number % len(combinations)]
        user = f"user{number}@shakespeare.lit"
        match = f'kind = "number", type = "{type_}", country = "{region}", from = ["{user}"]'
        add(match, lambda user=user, example=example: (user, example[:-1] + digits(1)))
    return matches, dials


def write(path: Path, prefixes: int, seed: int, head: str = HEAD) -> list[tuple[str, str]]:
    """Writes a dialplan; the calls to ask it for, misses included."""
    chance = random.Random(seed)
    matches, dials = rules_of(chance, prefixes)
    order = list(range(len(matches)))
    chance.shuffle(order)
    with path.open("w") as file:
        file.write(head)
        for position in order:
            via = "direct" if "uri" in matches[position] else "carrier"
            file.write(f'\n[[route]]\nname = "rule {position}"\nmatch = {{ {matches[position]} }}\nvia = "{via}"\n')
    calls = [dials[chance.randrange(len(dials))]() for _ in range(3600)]
    missed = [f"+33{chance.randrange(10**8, 10**9)}" for _ in range(300)]
    missed += [f"benvolio{chance.randrange(10**6)}%verona.example" for _ in range(100)]
    calls += [("juliet@shakespeare.lit", local) for local in missed]
    chance.shuffle(calls)
    return calls


def loaded(path: Path) -> tuple[Plan, float, float]:
    """The plan, and the seconds until it was read and checked, by the clock and of this process."""
    gc.collect()
    began, worked = time.perf_counter(), time.process_time()
    plan, _ = load.load([path], users=["shakespeare.lit"], own=["sip.example.com"])
    examples.prove(plan)
    return plan, time.perf_counter() - began, time.process_time() - worked


def asked(plan: Plan, calls: list[tuple[str, str]]) -> tuple[list[float], int, int]:
    """Microseconds of each decision, how many rules decided, and how many calls none did."""
    taken, rules, misses = [], set(), 0
    for caller, local in calls:
        request = Request(caller, local, at=MONDAY_NOON)
        began = time.perf_counter()
        found = route(plan, request)
        taken.append((time.perf_counter() - began) * 1e6)
        if isinstance(found, Refusal):
            misses += 1
        rules.add(found.rule)
    return taken, len(rules), misses


# With limits


class Stalls:
    """How late the event loop was, at worst, for who wanted its attention every half millisecond."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.0005)
            self.longest = max(self.longest, time.perf_counter() - began - 0.0005)


def synced(folder: Path, times: int = 100) -> float:
    """Milliseconds that the disk takes to write a page for good, in the median."""
    taken = []
    with (folder / "page").open("wb") as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


async def booked(plan: Plan, calls: Sequence[tuple[str, str]], bookings: Bookings | None, together: int) -> list[float]:
    """Milliseconds of each decision that was booked, with so many under way at a time: where there are many, calls end
    meanwhile. Without bookings only what there was to book is decided.
    """
    taken: list[float] = []
    over: list[tuple[str, int, int, bool]] = []
    names = iter(range(10**9))
    waiting = iter(calls)
    run = random.Random(together).getrandbits(64)

    async def caller() -> None:
        for user, local in waiting:
            number = next(names)
            who = user.replace("juliet", f"juliet{number % USERS}")
            began = time.perf_counter()
            found = route(plan, Request(who, local, at=MONDAY_NOON))
            if not isinstance(found, Route) or found.booking is None:
                continue
            tariff = found.booking.tariffs[0] or Tariff("EUR")
            ask = Ask(f"{run}-{number}", who, found.booking.claims, found.booking.bursts, tariff)
            answer = await bookings.reserve(ask) if bookings else await asyncio.sleep(0, Granted(0))
            taken.append((time.perf_counter() - began) * 1e3)
            if not isinstance(answer, Granted):
                raise SystemExit(f"a limit of the bench was met: {answer}")
            over.append((ask.call, 30, tariff.cost(30), number % 2 == 0))
            if bookings and together > 1:
                bookings.settle(*over.pop())

    await asyncio.gather(*(caller() for _ in range(together)))
    if bookings:
        for end in over:
            bookings.settle(*end)
    return taken


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    with Server(durable=True) as server:
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
            yield {
                "no database": "",
                "SQLite (RAM)": f"sqlite:///{name}/bench.db",
                "SQLite": f"sqlite:///{folder / 'bench.db'}",
                "PostgreSQL": server.database(),
            }


def quietest(taken: Sequence[float], window: int = 100) -> float:
    """The least median of a hundred decisions in a row: what they cost while others left the machine alone."""
    return min(statistics.median(taken[n : n + window]) for n in range(0, max(1, len(taken) - window), window // 4))


async def with_limits(
    plan: Plan, calls: Sequence[tuple[str, str]], name: str, url: str, folder: Path
) -> tuple[float, float]:
    """Prints what it costs; the medians of one call at a time, in milliseconds. Without a url nothing is booked."""
    bookings = Bookings(url, limit=60.0) if url else None
    if bookings:
        await bookings.start()
    medians, quiet = [], []
    await booked(plan, calls[:100], bookings, 1)
    for together in (1, 50):
        disk = synced(folder)
        stalls = Stalls()
        watching = asyncio.create_task(stalls.watch())
        began = time.process_time()
        taken = await booked(plan, calls[100:1000] if together == 1 else calls[1000:], bookings, together)
        worked = (time.process_time() - began) * 1e3 / len(taken)
        watching.cancel()
        medians.append(statistics.median(taken))
        quiet.append(quietest(taken))
        high = statistics.quantiles(taken, n=20)[-1]
        print(
            f"{name:>12} {together:>10} {medians[-1]:>6.2f} ms {quiet[-1]:>10.2f} ms {high:>7.2f} ms {worked:>7.2f} ms"
            f" {stalls.longest * 1e3:>10.2f} ms {(disk + synced(folder)) / 2:>6.2f} ms"
        )
        if bookings:
            await bookings.sweep()  # all that was settled is written
    if bookings:
        await bookings.stop()
    return medians[0], quiet[0]


def limited() -> None:
    print("\n with limits  at a time   median  quiet median      95 %  CPU of us  longest stall  a sync")
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        folder = Path(name)
        (folder / "prices.csv").write_text(PRICES)
        path = folder / "bench.toml"
        calls = write(path, 4_000, seed=1, head=HEAD + LIMITS)
        plan, _, _ = loaded(path)
        spare_collections()  # as in service
        medians = {kind: asyncio.run(with_limits(plan, calls, kind, url, folder)) for kind, url in urls.items()}
    for kind, target in TARGET_BOOKED.items():
        median, quiet = medians[kind]
        word = "met" if median <= target else "met in quiet" if quiet <= target else "missed"
        print(f"target, a booked decision of {target:.0f} ms with {kind}: {word} with {median:.2f} ms, {quiet:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefixes", type=int, nargs="*", default=[4_000, 20_000, 200_000])
    parser.add_argument("--limits", action="store_true", help="only those with limits")
    options = parser.parse_args()
    if not options.limits:
        unlimited(options.prefixes)
    limited()


def unlimited(several: Sequence[int]) -> None:
    print("  rules  prefixes     load  (of CPU)   median     mean     95 %  missed  rules hit")
    for prefixes in several:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.toml"
            calls = write(path, prefixes, seed=prefixes)
            plan, seconds, worked = loaded(path)
        asked(plan, calls[:50])
        taken, rules, misses = asked(plan, calls)
        median, mean = statistics.median(taken), statistics.fmean(taken)
        high = statistics.quantiles(taken, n=20)[-1]
        print(
            f"{len(plan.routes):>7} {prefixes:>9} {seconds:>6.2f} s {worked:>7.2f} s {median:>5.0f} µs"
            f" {mean:>5.0f} µs {high:>5.0f} µs {misses / len(calls):>6.0%} {rules:>10}"
        )
    good = ("met", "missed")
    print(f"target, a decision of {TARGET_DECISION:.0f} µs: {good[median > TARGET_DECISION]} with {median:.0f} µs")
    print(f"target, load and check in {TARGET_LOAD:.0f} s: {good[seconds > TARGET_LOAD]} with {seconds:.2f} s")


if __name__ == "__main__":
    main()
