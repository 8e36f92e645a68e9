"""`gateway numbers`: how a dialled string is read, for operators who wonder and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Dialled
from gateway.dialplan import numbers
from gateway.dialplan.numbers import Kind
from gateway.errors import AddressError

Row = Mapping[str, object]

# Key of a row, and how people read it.
_LABELS = {
    "kind": "kind",
    "number": "E.164",
    "national": "national",
    "international": "international",
    "extension": "extension",
    "dial": "a trunk is sent",
    "types": "types",
    "country": "country",
    "calling_code": "calling code",
    "assigned": "assigned",
    "foreign": "of another country",
}


def explain(written: str, region: str | None) -> Row:
    """How somebody in `region` is understood who writes this into a client, with or without the gateway's domain.

    Every row has the same keys; `problem` is None when it can be called.
    """
    try:
        dialled = _dialled(written)
    except AddressError as error:
        return _row(written, region, problem=str(error))
    if dialled is None:
        return _row(written, region, problem="nothing that is dialled: a name or a SIP address")
    reading = numbers.read(dialled, region)
    number = reading.number
    return _row(
        written,
        region,
        kind=str(reading.kind),
        number=number,
        national=numbers.national(number) if number else None,
        international=numbers.international(number) if number else None,
        extension=reading.extension or None,
        dial=None if reading.problem else reading.user,
        types=list(reading.types),
        country=reading.country,
        calling_code=reading.calling_code,
        assigned=reading.assigned if number else None,
        emergency=reading.kind is Kind.EMERGENCY,
        foreign=reading.foreign,
        problem=reading.problem,
    )


def lines(row: Row) -> Iterator[str]:
    """A row as people read it, what does not apply left out."""
    place = f"as dialled in {row['region']}" if row["region"] else "without a region"
    written = str(row["written"])
    yield f"{written if len(written) <= 80 else written[:79] + '…'}, read {place}"
    for key, label in _LABELS.items():
        value = row[key]
        if value is None or value == [] or (key == "foreign" and not value):
            continue
        yield f"  {label:<18} {_plain(value)}"
    if row["assigned"] is False:
        yield "  the numbering plan has this number for nobody: [numbers] unassigned decides"
    if row["problem"]:
        yield f"  refused: {row['problem']}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " or ".join(value) if isinstance(value, list) else f"{value}"


def _row(written: str, region: str | None, **found: object) -> Row:
    empty: dict[str, object] = dict.fromkeys(_LABELS)
    empty |= {"types": [], "emergency": False, "foreign": False, "problem": None}
    return {"written": written, "region": region} | empty | found


def _dialled(written: str) -> Dialled | None:
    """What is dialled in a local part, a JID or a URI; None when nothing is. Raises AddressError."""
    if written.lower().startswith(("sip:", "sips:", "tel:")):
        return contacts.dialled_in(SipUri.parse(written.replace(" ", "")))
    contact = contacts.contact(written.partition("@")[0])
    if isinstance(contact, SipUri):
        return contacts.dialled_in(contact)
    return contact if isinstance(contact, Dialled) else None
