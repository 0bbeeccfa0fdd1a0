"""A credential put through the providers of a home, as admission would, with nobody let in and nothing spent.

The providers are those of the settings. What they read and write of the home is a copy that is thrown away: users,
nodes, the tokens that were presented, Kerberos' replay cache. So a token that was tried here can still be presented,
and one that was presented is refused here too. What lies outside the home cannot be copied: a directory counts a wrong
passcode that is tried here like any other.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archive.home import Home
from archive.people import People, Surroundings
from archive.records.nodes import NodeRecords
from archive.records.presented import PresentedRecords
from archive.records.snapshot import copy_records
from archive.records.users import UserRecords
from archive.settings import INSECURE, Settings, load_settings
from auth.errors import AuthenticationFailed, RecordMissing
from auth.identity.authenticator import Authenticated, Authenticator, OfferedIdentity, claimed_name
from auth.identity.steps import checked, followed
from auth.identity.throttle import Throttle
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust
from storage.clock import now
from storage.index.engine import IndexEngine

MAX_CREDENTIAL_BYTES: Final = 65_529
"""What the two fields of a User Identity sub-item can hold: its 16-bit length, less six bytes (PS3.7 Table D.3-14)."""
ANY_NODE: Final = NodeIdentity(
    name="any node",
    ae_titles=frozenset(),
    roles=frozenset(),
    identity=IdentityDemand.REQUIRED,
    identity_types=None,
    asserts_roles=frozenset(),
    trust=NodeTrust.ISSUED,
    fingerprint=None,
)
"""A node that nothing is known of: it may use every type, asserts nobody, and presented nothing before."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it: a person (``authenticated``), or why not (``reason``)."""

    steps: tuple[str, ...]
    """What was checked and held, in order."""
    authenticated: Authenticated | None = None
    reason: str = ""
    claimed: str | None = None
    """The name that was claimed, where it was legible and not verified."""


def rehearse(home: Home, offered: OfferedIdentity, ae_title: str | None) -> Rehearsal:
    """Verify what a node of this AE title (None: `ANY_NODE`) might offer over TLS, or without it if it is a plain node.

    Raises:
        RecordMissing: no such node.
        SettingsInvalid, ProviderMisconfigured: a provider cannot be set up, so that the archive would not serve.
        IndexFault: the records cannot be read.
    """
    settings = load_settings(home.settings)
    with tempfile.TemporaryDirectory(prefix="strongroom-rehearsal-") as folder, followed() as steps:
        copy = Path(folder) / home.records.name
        copy_records(home.records, copy)
        records = IndexEngine.open(copy, prepare=None)
        try:
            node = _node(records, ae_title)
            around = Surroundings(
                home, settings.archive.ae_title, UserRecords(records), PresentedRecords(records, clock=now), now
            )
            with People(_with_other_replay_caches(settings, home, Path(folder)), around) as people:
                return _rehearsed(people, settings, offered, node, steps)
        finally:
            records.close()


def _rehearsed(
    people: People, settings: Settings, offered: OfferedIdentity, node: NodeIdentity, steps: list[str]
) -> Rehearsal:
    try:
        _check_size(offered)
        tls = node.trust is not NodeTrust.PLAIN
        insecure = settings.identity.without_tls == INSECURE
        # A throttle that nobody has used yet holds nobody up.
        authenticator = Authenticator(people.chain, Throttle(), insecure_without_tls=insecure)
        authenticated = authenticator.authenticate(offered, node, tls=tls, source="rehearsal")
    except AuthenticationFailed as error:
        return Rehearsal(tuple(steps), reason=error.reason, claimed=error.claimed)
    if authenticated.principal is None:
        return Rehearsal(tuple(steps), reason="the node is registered as one whose identities are not read")
    return Rehearsal(tuple(steps), authenticated)


def _check_size(offered: OfferedIdentity) -> None:
    """What could never arrive is not verified here either."""
    size = len(offered.primary) + len(offered.secondary)
    if size > MAX_CREDENTIAL_BYTES:
        reason = f"more than {MAX_CREDENTIAL_BYTES} bytes, which no User Identity item can hold"
        raise AuthenticationFailed(reason, claimed=claimed_name(offered))
    checked(f"a User Identity item can hold its {size} bytes")


def _node(records: IndexEngine, ae_title: str | None) -> NodeIdentity:
    nodes = NodeRecords(records)
    if ae_title is None:
        return ANY_NODE
    found = nodes.owner_of(ae_title)
    if found is None:
        raise RecordMissing("no node of that AE title")
    return found.identity


def _with_other_replay_caches(settings: Settings, home: Home, folder: Path) -> Settings:
    """The settings with a copy of each replay cache in place of it."""
    tables: list[Mapping[str, object]] = []
    for number, table in enumerate(settings.providers.get("kerberos", ())):
        copy = folder / f"replay-{number}" / "cache"
        copy.parent.mkdir()
        kept = table.get("replay_cache")
        if isinstance(kept, str) and home.inside(Path(kept)).is_file():
            shutil.copy(home.inside(Path(kept)), copy)
        tables.append({**table, "replay_cache": str(copy)})
    return replace(settings, providers={**settings.providers, "kerberos": tuple(tables)})
