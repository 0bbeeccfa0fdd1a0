"""Queries: who may match what, told to the audit before the first row leaves. Knows nothing of the wire.

The order of one query:

1. the enforcement point gives a grant: which studies are within reach, which attributes stay hidden;
2. keys on hidden attributes that ask for a value are refused, whatever they would match, and so is a query that gives
   none of the keys a value that the policy asks for; other hidden keys are answered empty;
3. the identifier becomes a plan; hidden attributes are not even read, and the grant's scope is AND-ed to its condition;
4. the query is in the audit trail, as it was asked;
5. pages of rows; Cedar decides again on the first page and on a sample of the others. Where there are none, the end
   comes at an even time.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Final, NoReturn, Protocol

from archive.audit.events import AccessRefused, Actor, AuditEvent, Outcome, QueryPerformed, SecurityAlert
from archive.enforcement.grant import ScopedGrant
from archive.services.even_time import evenly
from archive.services.large_values import LargeValues, ObjectStore
from archive.session import AssociationSession
from auth.errors import AccessDenied, HiddenKeyRefused, QueryTooBroad, TooManyResults
from auth.policy.model import Action
from storage.errors import StorageError
from storage.index.columns import Level
from storage.index.finding import Match
from storage.index.matching import NO_OPTIONS, FindQuery, QueryOptions
from storage.index.planning import InformationModel, plan_find
from storage.index.predicate import Predicate
from storage.index.sequences import QueryKey
from storage.instance import StoredInstance, StudyFacts

SAMPLED: Final = 100
"""Of the pages after the first, one row in so many is decided again."""

# Retrieve AE Title, Instance Availability and time zone are answered with constants: a value in such a key is not
# matched (PS3.4 C.2.2.1.3).
_CONSTANTS: Final = frozenset({0x00080054, 0x00080056, 0x00080201})


class AuditRecorder(Protocol):
    """Where queries are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class QueryEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def query(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """The studies within reach. Raises `AccessDenied`, audited."""

    def redecide_all(self, grant: ScopedGrant, studies: Sequence[StudyFacts]) -> list[bool]:
        """Whether the policy itself permits each study now."""


class MatchReader(Protocol):
    """What is asked of `storage.index.reader.IndexReader`."""

    def find(self, query: FindQuery, scope: Predicate) -> Iterator[list[Match]]:
        """Matching rows, page by page."""

    def speaker(self, match: Match) -> StoredInstance | None:
        """The object that says what a match says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it was asked, for the audit."""

    sop_class: str
    transfer_syntax: str
    identifier: bytes


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a query found. Iterating ``pages`` reads; nothing has been read before that."""

    level: Level
    returned: tuple[int, ...]
    """Tags to answer with, ascending. Hidden ones are among them, and have no value in any match."""
    values: tuple[int, ...]
    """Tags of the values of each match, in the order of `Match.row`."""
    optional_keys_missing: bool
    """Some key is not matched as it was asked (PS3.4 C.2.2.1.3): pending responses say FF01."""
    pages: Iterator[list[Match]]


class QueryService:
    """Answers queries at every level. Shared by all associations; thread-safe."""

    def __init__(self, reader: MatchReader, pep: QueryEnforcement, audit: AuditRecorder, objects: ObjectStore) -> None:
        self._reader = reader
        self._large = LargeValues(reader, objects)
        self._pep = pep
        self._audit = audit
        self._random = SystemRandom()

    def find(
        self,
        session: AssociationSession,
        asked: Asked,
        model: InformationModel,
        keys: Sequence[QueryKey],
        options: QueryOptions = NO_OPTIONS,
    ) -> QueryAnswer:
        """Plan a query and tell the audit; its rows are read as the pages are taken.

        Raises:
            AccessDenied: no study is within reach, or (`HiddenKeyRefused`) a hidden attribute is matched on.
            IdentifierInvalid: the identifier breaks the information model.
            StoreNotReady: the index is being rebuilt.
            AuditUnavailable: it could not be told.
        """
        grant = self._pep.query(session, asked.sop_class)
        hidden = self._hidden_keys(grant, keys)
        self._check_keys(grant, keys)
        try:
            # Elements without a column may repeat, in comments or sequences, what is hidden where it has one.
            plan = plan_find(model, keys, replace(options, columns_only=bool(grant.hidden)))
            visible = replace(plan, returned=tuple(tag for tag in plan.returned if not grant.hides(tag)))
            pages = self._reader.find(visible, grant.scope)
        except StorageError as error:
            self.refused(session, asked, str(error))
            raise
        # A hidden attribute is answered empty whether or not the index has it, so that nothing tells the two apart.
        returned = tuple(sorted(hidden.union(plan.returned)))
        missing = not hidden.issuperset(plan.unsupported) or any(key.tag in _CONSTANTS and key.value for key in keys)
        self._audit.record(performed(session, asked))
        seen = _capped(self._decided_again(grant, pages), grant.results)
        return QueryAnswer(plan.level, returned, visible.returned, missing, evenly(self._large.read(visible, seen)))

    def refused(self, session: AssociationSession, asked: Asked, reason: str) -> None:
        """Tell the audit of a query that was no query. ``reason`` holds nothing that the peer sent."""
        self._audit.record(replace(performed(session, asked), outcome=Outcome.MINOR_FAILURE, reason=reason))

    def _hidden_keys(self, grant: ScopedGrant, keys: Sequence[QueryKey]) -> frozenset[int]:
        """Hidden attributes that are asked for; raises if one is to be matched on.

        What stands inside a sequence may repeat them, so where anything is hidden, values in one are refused.
        """
        asked = [key for key in keys if grant.hides(key.tag)]
        nested = [key for key in keys if key.items is not None and grant.hidden]
        if any((key.value or "").strip(" \0") not in ("", "*") for key in asked) or any(key.asks for key in nested):
            self._deny(grant, HiddenKeyRefused(Action.QUERY.value, "a query matches on a hidden attribute"))
        return frozenset(key.tag for key in asked)

    def _check_keys(self, grant: ScopedGrant, keys: Sequence[QueryKey]) -> None:
        given = {key.tag for key in keys if _gives_value(key)}
        if not all(group & given for group in grant.keys):
            self._deny(
                grant, QueryTooBroad(Action.QUERY.value, "a query gives none of the keys a value that it has to")
            )

    def _deny(self, grant: ScopedGrant, error: AccessDenied) -> NoReturn:
        actor = Actor.of(grant.session)
        self._audit.record(AccessRefused(actor, Outcome.MINOR_FAILURE, error.reason, action=error.action))
        raise error

    def _decided_again(self, grant: ScopedGrant, pages: Iterator[list[Match]]) -> Iterator[list[Match]]:
        """The pages without what the policy itself denies: the scope and Cedar must never disagree."""
        sampled = False
        for page in pages:
            again = self._random.sample(page, -(-len(page) // SAMPLED)) if sampled else page
            sampled = True
            denied = self._denied(grant, again)
            if denied and again is not page:
                denied = self._denied(grant, page)
            if not denied:
                yield page
                continue
            self._alert(grant.session, denied)
            yield [match for match in page if match.facts.study_uid not in denied]

    def _denied(self, grant: ScopedGrant, matches: Sequence[Match]) -> set[str]:
        studies = {facts.study_uid: facts for facts in (match.facts for match in matches)}
        decisions = self._pep.redecide_all(grant, list(studies.values()))
        return {uid for uid, permitted in zip(studies, decisions, strict=True) if not permitted}

    def _alert(self, session: AssociationSession, studies: set[str]) -> None:
        actor = Actor.of(session)
        description = "the policy denies a study that the condition of a query let through; it was left out"
        alerts = [
            SecurityAlert(actor, Outcome.SERIOUS_FAILURE, description=description, study_uid=uid)
            for uid in sorted(studies)
        ]
        self._audit.record(*alerts)


def _gives_value(key: QueryKey) -> bool:
    """Whether a key asks for something; wildcards alone ask for everything."""
    return key.items is None and bool((key.value or "").strip(" \0*?\\"))


def _capped(pages: Iterator[list[Match]], limit: int | None) -> Iterator[list[Match]]:
    """The first matches, and an error where there are more. Counts what the person may see, and nothing else."""
    left = limit
    for page in pages:
        if left is None or len(page) <= left:
            yield page
            left = None if left is None else left - len(page)
            continue
        if left:
            yield page[:left]
        raise TooManyResults(Action.QUERY.value, f"more than {limit} matches of one query")


def performed(session: AssociationSession, asked: Asked) -> QueryPerformed:
    """What the audit says of a query, here and where a retrieval moves nothing."""
    return QueryPerformed(
        Actor.of(session),
        sop_class_uid=asked.sop_class,
        transfer_syntax=asked.transfer_syntax,
        identifier=base64.b64encode(asked.identifier).decode("ascii"),
    )
