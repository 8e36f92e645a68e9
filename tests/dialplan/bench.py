"""What a decision costs: `make bench-dialplan`. Not a test; nothing here passes or fails by a clock.

Ten thousand rules, shuffled: 40 % with lists of prefixes, 20 % regular expressions, 20 % user globs, 10 % hours, 10 %
types. Calls are spread over all of them, one in ten matches no rule. Files are written, read, checked and asked as
`gateway check` and a call do it; a decision includes reading what was dialled, and nobody calls a number twice.
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberType

from gateway.dialplan import examples, load, numbers
from gateway.dialplan.plan import Plan, Refusal, Request, route

RULES = 10_000
TARGET_DECISION, TARGET_LOAD = 150.0, 3.0  # µs, s
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

    def add(match: str, dial: Dial) -> None:
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
        (region, type_, phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
        for type_, code in TYPES.items()
        for region in sorted(numbers.REGIONS - {"US", "CA", "DE", "GB"})
        if (example := phonenumbers.example_number_for_type(region, code))
    ]
    for number in range(RULES // 10):
        region, type_, example = combinations[number % len(combinations)]
        user = f"user{number}@shakespeare.lit"
        match = f'kind = "number", type = "{type_}", country = "{region}", from = ["{user}"]'
        add(match, lambda user=user, example=example: (user, example[:-1] + digits(1)))
    return matches, dials


def write(path: Path, prefixes: int, seed: int) -> list[tuple[str, str]]:
    """Writes a dialplan; the calls to ask it for, misses included."""
    chance = random.Random(seed)
    matches, dials = rules_of(chance, prefixes)
    order = list(range(len(matches)))
    chance.shuffle(order)
    with path.open("w") as file:
        file.write(HEAD)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefixes", type=int, nargs="*", default=[4_000, 20_000, 200_000])
    print("  rules  prefixes     load  (of CPU)   median     mean     95 %  missed  rules hit")
    for prefixes in parser.parse_args().prefixes:
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
