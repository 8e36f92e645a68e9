"""What a user is told of his calls in the conversation itself, in words: missed calls, and why one was not connected.

    a call ends ── worth_saying ──> Kind ── said ──> the sentence in every language, the operator's first

A client shows what it has a sign for: ringing, busy, declined, a call that went as it should. Only what it cannot show
is said, and each sentence is of one line.
"""

from __future__ import annotations

import enum

from gateway.call.causes import Cause
from gateway.call.events import Leg

LANGUAGES = ("en", "de", "fr")
LONGEST_DETAIL = 200  # characters of what somebody else said


class Say(enum.StrEnum):
    """Which lines an operator wants in his users' conversations."""

    NOTHING = "off"
    FAILURES = "failures"  # calls that could not be connected, or broke
    ALL = "all"  # missed calls too, and who is talking after a transfer


class Kind(enum.Enum):
    """What a line is about."""

    MISSED = enum.auto()
    FAILED = enum.auto()  # not connected at all
    CUT = enum.auto()  # ended while they talked
    PARTY = enum.auto()  # somebody else is there now
    ENDING = enum.auto()  # it ends soon: what it may cost is used up
    FROZEN = enum.auto()  # the account is


# What every client shows of its own accord, and what the user did himself.
_SHOWN = frozenset({Cause.NORMAL, Cause.CANCELLED, Cause.ELSEWHERE, Cause.BUSY, Cause.DECLINED})
_UNHEARD = frozenset({Cause.NO_ANSWER, Cause.UNAVAILABLE, Cause.CANCELLED, Cause.TIMEOUT})


def worth_saying(say: Say, cause: Cause, by: Leg | None, user: Leg, *, talked: bool) -> Kind | None:
    """What the user at this end of the call is told of how it ended, if anything.

    `talked`: it had been answered. `by` is who ended it.
    """
    if say is Say.NOTHING or by is user:
        return None
    if talked:
        return Kind.CUT if cause not in _SHOWN else None
    if user is Leg.CALLER:
        return Kind.FAILED if cause not in _SHOWN else None
    return Kind.MISSED if say is Say.ALL and cause in _UNHEARD else None


def said(
    kind: Kind, cause: Cause, detail: str = "", party: str = "", first: str = "en", seconds: int = 0
) -> tuple[tuple[str, str], ...]:
    """(language, sentence) for each language, the language `first` first.

    `detail` is what the dialplan or the far side gave as the reason, in whatever language it is; `party` is who called;
    `seconds` is how long a call goes on that will end.
    """
    order = sorted(LANGUAGES, key=lambda language: language != first)
    return tuple((language, _sentence(kind, cause, detail, party, language, seconds)) for language in order)


def _sentence(kind: Kind, cause: Cause, detail: str, party: str, language: str, seconds: int) -> str:
    why = _REASONS[language].get(cause, _REASONS[language][Cause.INTERNAL])
    detail = " ".join(detail.split())[:LONGEST_DETAIL]
    if cause is Cause.FORBIDDEN and detail:
        why = detail  # the operator's own words
    elif detail and detail not in (cause.text, why):
        why = f"{why} ({detail})"
    return _FRAMES[language][kind].format(why=why, party=party, seconds=seconds)


_FRAMES = {
    "en": {
        Kind.MISSED: "Missed call from {party}",
        Kind.FAILED: "The call was not connected: {why}",
        Kind.CUT: "The call was cut off: {why}",
        Kind.PARTY: "You are talking with {party} now",
        Kind.ENDING: "This call ends in {seconds} seconds: {why}",
        Kind.FROZEN: "Your account was blocked: {why}. Whoever runs this service can lift that",
    },
    "de": {
        Kind.MISSED: "Verpasster Anruf von {party}",
        Kind.FAILED: "Der Anruf kam nicht zustande: {why}",
        Kind.CUT: "Der Anruf wurde unterbrochen: {why}",
        Kind.PARTY: "Sie sprechen jetzt mit {party}",
        Kind.ENDING: "Dieser Anruf endet in {seconds} Sekunden: {why}",
        Kind.FROZEN: "Ihr Konto wurde gesperrt: {why}. Aufheben kann das, wer diesen Dienst betreibt",
    },
    "fr": {
        Kind.MISSED: "Appel manqué de {party}",
        Kind.FAILED: "L’appel n’a pas abouti : {why}",
        Kind.CUT: "L’appel a été interrompu : {why}",
        Kind.PARTY: "Vous parlez maintenant avec {party}",
        Kind.ENDING: "Cet appel se termine dans {seconds} secondes : {why}",
        Kind.FROZEN: "Votre compte a été bloqué : {why}. Seul l’exploitant de ce service peut lever ce blocage",
    },
}
_REASONS = {
    "en": {cause: cause.text for cause in Cause},
    "de": {
        Cause.NO_ANSWER: "niemand hat abgenommen",
        Cause.UNAVAILABLE: "zurzeit nicht erreichbar",
        Cause.NOT_FOUND: "diese Nummer oder Adresse gibt es nicht",
        Cause.FORBIDDEN: "dieser Anruf ist nicht erlaubt",
        Cause.NO_COMMON_CODEC: "die beiden Seiten haben keinen gemeinsamen Codec",
        Cause.MEDIA_FAILED: "es kam keine Tonverbindung zustande",
        Cause.MEDIA_LOST: "die Tonverbindung ist abgerissen",
        Cause.SECURITY: "der Ton konnte nicht wie vereinbart verschlüsselt werden",
        Cause.CERTIFICATE: "die Gegenseite konnte nicht beweisen, wer sie ist",
        Cause.CONGESTION: "die Leitung ist außer Betrieb oder besetzt",
        Cause.TIMEOUT: "die Gegenseite reagiert nicht",
        Cause.PROTOCOL: "eine Nachricht war nicht zu lesen",
        Cause.LINK_LOST: "der XMPP-Server war nicht mehr erreichbar",
        Cause.TOO_LONG: "die längste erlaubte Dauer ist erreicht",
        Cause.EXHAUSTED: "das Budget für solche Anrufe ist aufgebraucht",
        Cause.FROZEN: "kostenpflichtige Anrufe sind vorerst gesperrt",
        Cause.UNBOOKED: "kostenpflichtige Anrufe sind zurzeit nicht möglich",
        Cause.SHUTDOWN: "das Gateway wird beendet",
        Cause.INTERNAL: "ein interner Fehler",
    },
    "fr": {
        Cause.NO_ANSWER: "pas de réponse",
        Cause.UNAVAILABLE: "injoignable pour le moment",
        Cause.NOT_FOUND: "ce numéro ou cette adresse n’existe pas",
        Cause.FORBIDDEN: "cet appel n’est pas autorisé",
        Cause.NO_COMMON_CODEC: "les deux côtés n’ont aucun codec en commun",
        Cause.MEDIA_FAILED: "la liaison audio n’a pas pu être établie",
        Cause.MEDIA_LOST: "la liaison audio a été perdue",
        Cause.SECURITY: "le son n’a pas pu être chiffré comme convenu",
        Cause.CERTIFICATE: "l’autre côté n’a pas pu prouver son identité",
        Cause.CONGESTION: "la ligne est hors service ou saturée",
        Cause.TIMEOUT: "l’autre côté ne répond pas",
        Cause.PROTOCOL: "un message n’a pas pu être lu",
        Cause.LINK_LOST: "le serveur XMPP n’était plus joignable",
        Cause.TOO_LONG: "la durée maximale est atteinte",
        Cause.EXHAUSTED: "le budget pour ces appels est épuisé",
        Cause.FROZEN: "les appels payants sont bloqués pour l’instant",
        Cause.UNBOOKED: "les appels payants ne sont pas possibles pour le moment",
        Cause.SHUTDOWN: "la passerelle s’arrête",
        Cause.INTERNAL: "une erreur interne",
    },
}
