"""The command `gateway`: run, check, route, numbers, calls, accounts, freeze, thaw, trace, media-worker.

Exit codes: 0 as asked; 1 a fault of the configuration, or what `route` or `numbers` says is refused; 2 a wrong use of
the command, and for `route` any fault. Rooms are imported by the command that needs them, so that `check` starts at
once.
"""

# ruff: noqa: PLC0415 -- the imports within the commands are the sentence above
from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.config import Config
    from gateway.dialplan.plan import Inbound, InboundRoute, Refusal, Request, Route

app = typer.Typer(
    help="A gateway that lets XMPP users call, and be called from, telephones and SIP addresses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The gateway.toml to use.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"gateway {version('xmpp-sip-gateway')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and exit.")
    ] = False,
) -> None:
    pass  # `version` has had its say


@app.command()
def run(config: ConfigFile = Path("gateway.toml")) -> None:
    """Run the gateway until it is told to stop."""
    settings = _configuration(config, fault=1)
    from gateway.ops.serve import serve

    raise typer.Exit(serve(settings))


@app.command()
def check(config: ConfigFile = Path("gateway.toml")) -> None:
    """Tell every fault of the configuration and the dialplan at once, and prove the example rows."""
    from gateway.ops import check as checking

    verdict = checking.check(config)
    for line in verdict.lines():
        typer.echo(line)
    raise typer.Exit(0 if verdict.ok else 1)


@app.command()
def route(
    *,
    address: Annotated[str, typer.Argument(help="Whom to call, as '+12025550123@sip.example.com'.")],
    caller: Annotated[str | None, typer.Option("--from", help="The user who calls, as juliet@shakespeare.lit.")] = None,
    trunk: Annotated[
        str | None, typer.Option(help="In place of --from: the trunk that a call from SIP comes by.")
    ] = None,
    stranger: Annotated[
        bool, typer.Option("--stranger", help="In place of --from: a call from SIP comes by no trunk.")
    ] = False,
    calling: Annotated[
        str | None, typer.Option("--caller", help="Who calls from SIP: a number, user@host or anonymous.")
    ] = None,
    config: ConfigFile = Path("gateway.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome for programs.")] = False,
    region: Annotated[str | None, typer.Option(help="Read numbers as dialled in this region, as GB.")] = None,
    at: Annotated[datetime | None, typer.Option(help="Decide as at this time; without it, as now.")] = None,
    dns: Annotated[bool, typer.Option("--dns", help="Ask DNS too: where names lead, and ENUM.")] = False,
) -> None:
    """Tell what would become of a call, step by step, and why. Nobody is called."""
    from gateway.dialplan import examples, numbers, plan

    if [caller is not None, trunk is not None, stranger].count(True) != 1:
        _wrong("a call has one of --from, --trunk and --stranger")
    if calling is not None and caller is not None:
        _wrong("--caller: for calls from SIP, with --trunk or --stranger")
    settings = _configuration(config, fault=2)
    _check_region(region, numbers.REGIONS)
    when = at or datetime.now(UTC)
    outcome: Route | InboundRoute | Refusal
    if caller is not None:
        request = plan.Request(_bare(caller), _local(address, settings.xmpp_domain), region, when)
        outcome = _outgoing(settings, request, dns=dns)
    else:
        outcome = plan.inbound(settings.plan, _incoming(settings, address, trunk, calling, region, when), explain=True)
    if as_json:
        typer.echo(json.dumps(examples.as_row(outcome)))
    else:
        _explain(outcome)
    raise typer.Exit(1 if isinstance(outcome, plan.Refusal) else 0)


@app.command()
def numbers(
    *,
    written: Annotated[str, typer.Argument(help="What somebody dials, as '+1 202-555-0123', '911' or 'tel:…'.")],
    region: Annotated[str | None, typer.Option(help="Read it as dialled in this region, as GB.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reading for programs.")] = False,
) -> None:
    """Tell how a dialled string is read: its kind, number, type and country, or why it is refused."""
    from gateway.dialplan.numbers import REGIONS
    from gateway.ops.numbers import explain, lines

    _check_region(region, REGIONS)
    row = explain(written, region)
    typer.echo(json.dumps(row) if as_json else "\n".join(lines(row)))
    raise typer.Exit(1 if row["problem"] else 0)


@app.command()
def calls(
    *,
    call: Annotated[str | None, typer.Argument(help="Show this call: our id, a SIP Call-ID or a Jingle sid.")] = None,
    config: ConfigFile = Path("gateway.toml"),
    since: Annotated[
        str | None, typer.Option(help="As 1h, 30m, 7d, 2026-11-22 or 2026-11-22T13:05, local time.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Likewise; a date is the whole day.")] = None,
    user: Annotated[str | None, typer.Option(help="A bare JID at either end.")] = None,
    number: Annotated[str | None, typer.Option(help="A number, or part of one, at either end.")] = None,
    cause: Annotated[str | None, typer.Option(help="Why it ended, as busy or no-answer.")] = None,
    trunk: Annotated[str | None, typer.Option(help="That it came by, left by or tried.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Never answered, or broken by the network or by us.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="The latest so many; 50, of exports 100,000.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, one for each call.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line for each call.")] = False,
) -> None:
    """List calls that have ended, the newest last, or show one of them with its attempts and media."""
    from gateway.ops import calls as calling

    try:
        form = calling.Form.of(as_json, as_csv)
        question = calling.question(since, until, user, number, cause, trunk, failed, limit or form.limit)
    except ValueError as error:
        _wrong(str(error))
    if call and form is calling.Form.TABLE:
        _asked(lambda: calling.show(_storage(config), call))
    _asked(lambda: calling.list_calls(_storage(config), question, form, call))


@app.command()
def accounts(
    *,
    config: ConfigFile = Path("gateway.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print what there is for programs.")] = False,
) -> None:
    """List what users have used of their budgets, until when, and whose account is frozen, since when and why."""
    from gateway.ops import accounts as accounting

    _asked(lambda: accounting.list_accounts(_storage(config), as_json=as_json))


@app.command()
def freeze(
    *,
    account: Annotated[str, typer.Argument(help="A user's bare JID.")],
    reason: Annotated[str, typer.Option(help="Why, for him and for other operators.")],
    config: ConfigFile = Path("gateway.toml"),
) -> None:
    """Have a user make no calls that cost, until he is thawed; calls of his that are up end within a minute or two."""
    from gateway.ops import accounts as accounting

    _asked(lambda: accounting.freeze(_storage(config), _bare(account, "ACCOUNT"), reason))


@app.command()
def thaw(
    *,
    account: Annotated[str, typer.Argument(help="A user's bare JID.")],
    config: ConfigFile = Path("gateway.toml"),
) -> None:
    """Have a user who is frozen make calls again, as far as his budgets go."""
    from gateway.ops import accounts as accounting

    _asked(lambda: accounting.thaw(_storage(config), _bare(account, "ACCOUNT")))


@app.command()
def trace(
    log: Annotated[
        Path,
        typer.Argument(metavar="LOGFILE|CALL", help='A log with format = "json", - for standard input; or a call.'),
    ],
    call: Annotated[str | None, typer.Option(help="This call alone: our id, a SIP Call-ID or a Jingle sid.")] = None,
    detail: Annotated[bool, typer.Option(help="Print the messages too, which a log has.")] = False,
    config: ConfigFile = Path("gateway.toml"),
) -> None:
    """Print calls as ladders of Jingle, SIP and media, side by side: those of a log, or one from the call records."""
    from gateway.ops.trace import ladders

    if str(log) != "-" and not os.path.exists(log) and _trace_record(config, str(log)):
        return
    found = False
    try:
        with contextlib.nullcontext(sys.stdin) if str(log) == "-" else log.open(errors="replace") as lines:
            for line in ladders(lines, call, detail=detail):
                found = True
                typer.echo(line)
    except FileNotFoundError:
        _wrong(f"{log}: there is no such file, and no such call in the call records")
    except OSError as error:
        _wrong(f"{log}: {error.strerror or error}")
    if not found:
        _wrong(f"no such call in {log}" if call else f'no calls in {log}: only a log with format = "json" has them', 1)


@app.command("media-worker")
def media_worker(
    ng: Annotated[str, typer.Option(help="Where to take ng commands, as udp:127.0.0.1:2223.")],
) -> None:
    """Run one media worker that speaks rtpengine's ng protocol."""
    from gateway.media import process

    raise typer.Exit(process.main(["--ng", ng]))


def main() -> None:
    """The entry point of the command."""
    app()


# What the commands share ----------------------------------------------------------------------------------------------


def _wrong(message: str, code: int = 2) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _asked(work: Callable[[], int]) -> NoReturn:
    """What was asked of the database, and its exit code; 1 where it cannot be asked."""
    from gateway.errors import ConfigurationError, GatewayError

    try:
        code = work()
    except ConfigurationError as error:
        _wrong("\n".join(map(str, error.faults)), 1)
    except GatewayError as error:
        _wrong(str(error), 1)
    raise typer.Exit(code)


def _configuration(path: Path, fault: int) -> Config:
    """The configuration; its faults and warnings go to standard error, faults end the command with this code."""
    from gateway.ops.check import check

    verdict = check(path)
    for found in verdict.faults:
        typer.echo(str(found), err=True)
    if verdict.config is None:
        raise typer.Exit(fault)
    return verdict.config


def _storage(path: Path) -> str:
    """The database of call records, although something else in the configuration may be at fault now."""
    from gateway.configfile import storage_url

    return storage_url(path)


def _trace_record(config: Path, call: str) -> bool:
    """Print the ladder of a call from its record. False when this is none; ends the command where it could be."""
    from gateway.errors import GatewayError
    from gateway.ops.calls import find
    from gateway.ops.trace import recorded

    try:
        record = find(_storage(config), call)
    except GatewayError as error:
        if re.fullmatch("[0-9a-f]{12}", call):  # an id of ours
            _wrong(str(error), 1)
        return False
    if record is None:
        if re.fullmatch("[0-9a-f]{12}", call):
            _wrong(f"no such call: {call}", 1)
        return False
    for line in recorded(record):
        typer.echo(line)
    return True


def _check_region(region: str | None, known: Collection[str]) -> None:
    if region is None or region in known:
        return
    _wrong(f"--region: {region!r} is no region" + (f", {region.upper()} is" if region.upper() in known else ""))


def _outgoing(settings: Config, request: Request, *, dns: bool) -> Route | Refusal:
    from gateway.ops import route as routing

    if not dns:
        return routing.reachable(routing.outgoing(settings.plan, request), settings.media_allow)
    import asyncio

    from gateway.sip.resolver import Resolver

    resolver = Resolver(settings.sip_nameservers)
    found = asyncio.run(routing.outgoing_by_dns(settings.plan, request, resolver.hosts, resolver.enum))
    return routing.reachable(found, settings.media_allow)


def _incoming(
    settings: Config, address: str, trunk: str | None, calling: str | None, region: str | None, at: datetime
) -> Inbound:
    from gateway.dialplan import plan
    from gateway.dialplan.tables import near
    from gateway.errors import AddressError
    from gateway.ops import route as routing

    trunks = settings.plan.trunks
    if trunk is not None and trunk not in trunks:
        _wrong(f"--trunk: {trunk!r} is no trunk{near(trunk, trunks)}")
    by = trunks[trunk] if trunk is not None else None
    try:
        local = routing.calling(settings.plan, calling, by) if calling is not None else None
        return plan.Inbound(routing.called(address, settings.sip_domain), trunk, region, local, at)
    except AddressError as error:
        _wrong(str(error))


def _bare(jid: str, option: str = "--from") -> str:
    """A bare JID as a server spells it."""
    from gateway import addresses, contacts
    from gateway.errors import AddressError

    local, at, domain = jid.partition("/")[0].rpartition("@")
    try:
        if at:
            return f"{contacts.prepared_local(local)}@{contacts.readable_host(addresses.host_of(domain))}"
    except AddressError:
        pass
    _wrong(f"{option}: {jid!r} is no JID")


def _local(address: str, domain: str) -> str:
    """The local part of a contact of this gateway; a sip: or tel: URI stands for its contact."""
    from gateway import addresses, contacts
    from gateway.errors import AddressError

    if address.lower().startswith(("sip:", "sips:", "tel:")):
        try:
            return contacts.local_of(addresses.SipUri.parse(address))
        except AddressError as error:
            _wrong(str(error))
    local, at, host = address.partition("/")[0].rpartition("@")
    if not at:
        return address
    if host.lower() != domain:
        _wrong(f"{host} is not this gateway: {domain} is")
    return local


def _explain(outcome: Route | InboundRoute | Refusal) -> None:
    from rich.console import Console
    from rich.text import Text

    from gateway.ops.route import lines

    console = Console(soft_wrap=True, highlight=False)
    for line, style in lines(outcome):
        console.print(Text(line, style))
