"""What the statement says of services: SOP classes with their roles and syntaxes, statuses, extended negotiation.

Read from the tables that the server itself works with, and from its own answer to a proposal of everything.
"""

from collections.abc import Callable, Iterator, Sequence

from pydicom.uid import UID_dictionary

from archive.conformance.tables import hexadecimal, name_of, table
from archive.dimse import sop_classes
from archive.dimse.contexts import ACCEPTED, ContextNegotiation
from archive.dimse.extended import query_answer, retrieve_answer
from archive.dimse.status import (
    CANCELLED,
    PENDING,
    PENDING_KEYS_MISSING,
    SUB_OPERATIONS_FAILED_SOME,
    SUCCESS,
    Service,
    refusals,
)
from archive.upper_layer.negotiation import ProposedContext
from storage.transfer_syntax import supported

_EVERY_SYNTAX = tuple(sorted(supported()))
_COMPOSITE = "Storage"
_RETRIEVE_OPTIONS = ("relational retrieval", "enhanced multi-frame image conversion")
_OPTIONS = (
    "relational queries",
    "combined date and time matching",
    "fuzzy matching of person names",
    "timezone query adjustment",
    "enhanced multi-frame image conversion",
)


def accepted(storage: frozenset[str] = sop_classes.STORAGE) -> dict[str, tuple[str, ...]]:
    """Every SOP class that a presentation context is accepted for, with the transfer syntaxes it is accepted in.

    ``storage``: the SOP classes whose objects are kept.
    """
    negotiation = ContextNegotiation(storage)
    known = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind in ("SOP Class", "Meta SOP Class")}
    found = {}
    for uid in sorted(known | storage | sop_classes.MESSAGES, key=_by_number):
        syntaxes = tuple(syntax for syntax in _EVERY_SYNTAX if _accepts(negotiation, uid, syntax))
        if syntaxes:
            found[uid] = syntaxes
    return found


def service_of(uid: str) -> str:
    """Under which service class a SOP class that is accepted is listed."""
    if uid == sop_classes.VERIFICATION:
        return "Verification"
    if uid == sop_classes.STORAGE_COMMITMENT:
        return "Storage Commitment"
    return "Query/Retrieve" if uid in sop_classes.MESSAGES else _COMPOSITE


def overview(storage: frozenset[str]) -> list[str]:
    """Table of network services: how many SOP classes of each, in which role."""
    counts: dict[str, int] = {}
    for uid in accepted(storage):
        counts[service_of(uid)] = counts.get(service_of(uid), 0) + 1
    rows = [(service, count, _scu(service), "yes") for service, count in sorted(counts.items())]
    return table(("Service class", "SOP classes", "User (SCU)", "Provider (SCP)"), rows)


def sop_class_tables(storage: frozenset[str]) -> Iterator[str]:
    """SOP classes by service, and the transfer syntaxes of each group."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for uid, syntaxes in accepted(storage).items():
        groups.setdefault((service_of(uid), syntaxes), []).append(uid)
    for number, ((service, syntaxes), uids) in enumerate(sorted(groups.items()), 1):
        yield f"**Group {number}: {service}**, SCU: {_scu(service)}; SCP: yes; transfer syntaxes:"
        yield ""
        yield from table(("Transfer syntax", "UID"), ((name_of(uid), uid) for uid in syntaxes))
        yield from table(("SOP class", "UID"), ((name_of(uid), uid) for uid in uids))


def status_tables() -> Iterator[str]:
    """Every status that a service answers with, and what it means."""
    for service in Service:
        yield f"**{service.value}**"
        yield ""
        rows = [(hexadecimal(status), meaning) for status, meaning in _good(service)]
        rows += [(hexadecimal(status), "; ".join(comments)) for status, comments in sorted(refusals(service).items())]
        yield from table(("Status", "Meaning, as Error Comment (0000,0902) of failures"), rows)


def query_options() -> list[str]:
    """Extended negotiation of queries (PS3.4 C.5.1.1), as it is answered where everything is offered."""
    return _options(_OPTIONS, query_answer)


def retrieve_options() -> list[str]:
    """Likewise of retrievals (PS3.4 C.5.2.1, C.5.3.1)."""
    return _options(_RETRIEVE_OPTIONS, retrieve_answer)


def _options(names: Sequence[str], answered: Callable[[bytes], bytes]) -> list[str]:
    answer = answered(bytes([1] * len(names)))
    rows = [(place, words, "yes" if answer[place - 1] else "no") for place, words in enumerate(names, 1)]
    return table(("Byte", "Option", "Supported"), rows)


def _good(service: Service) -> Iterator[tuple[int, str]]:
    yield SUCCESS, "success"
    if service in (Service.FIND, Service.GET, Service.MOVE):
        yield PENDING, "matches, or sub-operations, continue"
        yield CANCELLED, "cancelled by the requestor"
    if service is Service.FIND:
        yield PENDING_KEYS_MISSING, "matches continue; an optional key was not matched as asked"
    if service in (Service.GET, Service.MOVE):
        yield SUB_OPERATIONS_FAILED_SOME, "some sub-operations failed or ended with a warning"


def _accepts(negotiation: ContextNegotiation, uid: str, syntax: str) -> bool:
    return negotiation.result(ProposedContext(1, uid, (syntax,))).result == ACCEPTED


def _scu(service: str) -> str:
    return "to send objects (C-MOVE)" if service == _COMPOSITE and sop_classes.MOVE else "no"


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]
