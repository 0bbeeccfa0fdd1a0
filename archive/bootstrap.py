"""The composition root: from a home to an archive whose parts know each other. The only place that picks
implementations; everything else takes what it needs as an argument.

`open_archive` is what a verb needs; `archive.serving` puts the listeners on top. Neither takes the home's lock: whoever
calls them holds it.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from archive.audit.checkpoint import CheckpointMaker
from archive.audit.events import Actor, Alert, Outcome, SecurityAlert
from archive.audit.journal import TrailJournal
from archive.audit.keeper import CheckpointKeeper
from archive.audit.log import AuditLog
from archive.audit.retention import Retention
from archive.audit.timestamping import Stamper
from archive.audit.trail import AuditTrail
from archive.enforcement.attributes import is_keyword
from archive.errors import SettingsInvalid
from archive.home import Home
from archive.keys import load_keyring
from archive.metrics import Metrics
from archive.rebuild_state import LiveRebuild
from archive.records.commitments import CommitmentRecords
from archive.records.masked import MaskedRecords
from archive.records.nodes import NodeRecords
from archive.records.overrides import OverrideRecords
from archive.records.policy import PolicyRecord
from archive.records.presented import PresentedRecords
from archive.records.users import UserRecords
from archive.records.volume import VolumeRecords
from archive.settings import Settings, load_settings
from archive.signatures.local import local_profiles
from archive.signatures.receipt import ReceiptPolicy
from archive.signatures.trusting import trust_of
from archive.signing_keys import SigningKeys, fingerprints, finish_rotation, object_signer
from archive.upper_layer.limits import Limits
from auth.node.authority import Authority
from auth.policy.engine import PolicyEngine
from auth.policy.loading import LoadedPolicies
from auth.policy.loading import load as load_policies
from storage.blobs.filesystem import FilesystemBlobs
from storage.clock import now
from storage.crypto.keyring import Keyring
from storage.index.engine import IndexEngine
from storage.index.facts import FactsSeal
from storage.ingest.intake import IntakesHere, IntakeTools
from storage.ingest.nursery import Nursery
from storage.ingest.pool import IntakePool
from storage.integrity.element_events import StreamLimits
from storage.ports import Intakes
from storage.recovery import Progress, RecoveryReport, no_progress
from storage.repository import Parts, Repository

_MAX_PROCESSES: Final = 8
"""That take objects in, unless the settings say otherwise: by then the disk is what is waited for."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One opened home. `close` it."""

    home: Home
    settings: Settings
    keyring: Keyring
    signing: SigningKeys
    intakes: Intakes
    receipt: ReceiptPolicy
    audit: AuditLog
    trail: AuditTrail
    retention: Retention
    policies: PolicyEngine
    nodes: NodeRecords
    users: UserRecords
    presented: PresentedRecords
    commitments: CommitmentRecords
    masked: MaskedRecords
    volumes: VolumeRecords
    overrides: OverrideRecords
    policy_record: PolicyRecord
    repository: Repository
    metrics: Metrics
    rebuild: LiveRebuild
    _held: ExitStack = field(repr=False)

    @property
    def authority(self) -> Authority:
        """The archive's own certificate authority."""
        return self.signing.authority

    def load_policies(self) -> LoadedPolicies:
        """The policies as they lie in their folder now, checked; they count once `policies` adopts them.

        Raises:
            PolicyInvalid: they do not hold together.
        """
        return load_policies(self.policy_directory, is_keyword)

    def adopt_policies(self, policies: LoadedPolicies) -> None:
        """Put a checked policy set in force, and remember that it was."""
        self.policy_record.adopt(policies.fingerprint)
        self.policies.adopt(policies)

    @property
    def policy_directory(self) -> Path:
        """Where the policies are kept."""
        return self.home.inside(self.settings.policy.directory)

    def tell(self, event: str, facts: Mapping[str, object], actor: Actor, description: str, alert: Alert) -> None:
        """Append a change to the ledger, and through it to the audit trail.

        Raises:
            StoreReadOnly, AuditUnavailable: it could not be told, and must not happen.
        """
        provenance: dict[str, object] = {"actor": actor.facts(), "description": description, "alert": alert.value}
        self.repository.record(event, dict(facts), provenance)

    def close(self) -> None:
        """Finish what is under way, and leave plain files behind; idempotent."""
        self._held.close()


def open_archive(
    home: Home, *, serving: bool = False, progress: Progress = no_progress, wait_for_index: bool = True
) -> Archive:
    """Open a home for writing, and put right what a crash left. The caller holds its lock.

    Args:
        home: the home.
        serving: many objects will come, which processes of their own take in. They are forked, so the caller must not
            have started a thread yet.
        progress: told how far the index has come, where it lacks anything.
        wait_for_index: if not, `finish_rebuild` has to follow where ``repository.rebuilding`` says so.

    Raises:
        SettingsInvalid, HomeInvalid, SecretExposed: the home is not in order.
        AuthError: authority or policies are not usable.
        StorageError: keyring, ledger, objects or index are not what was written.
        TrailDamaged, AuditUnavailable: the audit trail is not, or cannot be written.
    """
    home.require()
    settings = load_settings(home.settings)
    with ExitStack() as held:
        blobs = FilesystemBlobs(home.blobs, reserve_bytes=settings.storage.reserve_bytes)
        finish_rotation(home, settings)
        # Its processes are forked off before there is a thread here, or an open token.
        pool = _pool(home, settings, blobs) if serving else None
        if pool is not None:
            held.callback(pool.close)
        keyring = load_keyring(home, settings)
        policies = PolicyEngine.load(home.inside(settings.policy.directory), is_keyword)
        signing = SigningKeys(home, settings)
        held.callback(signing.close)
        here = IntakeTools(blobs, keyring, signing.objects, _stream_limits(settings.limits))
        intakes: Intakes = pool or IntakesHere(here)
        stamper = _stamper(home, settings)
        trail = AuditTrail(home.trail, keyring.audit_key, checkpoints=CheckpointMaker(signing.statements, now))
        # It ends after the trail, whose last checkpoint it still carries.
        held.callback(_keeper(trail, home, settings, stamper).close)
        held.callback(trail.close)
        records = IndexEngine.open(home.records, prepare=None)
        held.callback(records.close)
        # The ledger tells start-up whatever a power loss takes from the index.
        index = IndexEngine.open(home.index, durable=False, seal=FactsSeal(keyring.ledger_key))
        held.callback(index.close)
        parts = Parts(
            blobs=blobs,
            ledger=home.ledger,
            keyring=keyring,
            intakes=intakes,
            signer=signing.objects,
            engine=index,
            journal=TrailJournal(trail),
        )
        repository = Repository.start(parts, progress=progress, wait_for_index=wait_for_index)
        held.callback(repository.close)
        rebuild = LiveRebuild()
        held.callback(rebuild.close)
        audit = AuditLog(trail)
        retention = Retention(home.trail, keyring.audit_key, signing.statements, signing.verifier, now)
        _tell_recovery(audit, trail.torn, repository.recovery)
        return Archive(
            home=home,
            settings=settings,
            keyring=keyring,
            signing=signing,
            intakes=intakes,
            receipt=receipt_policy(home, settings, signing),
            audit=audit,
            trail=trail,
            retention=retention,
            policies=policies,
            nodes=NodeRecords(records, key=keyring.ledger_key),
            users=UserRecords(records, key=keyring.ledger_key),
            presented=PresentedRecords(records, clock=now),
            commitments=CommitmentRecords(records),
            masked=MaskedRecords(records),
            volumes=VolumeRecords(records, clock=now),
            overrides=OverrideRecords(records, clock=now, key=keyring.ledger_key),
            policy_record=_policy_record(records, keyring, policies, audit),
            repository=repository,
            metrics=Metrics(),
            rebuild=rebuild,
            _held=held.pop_all(),
        )


def _policy_record(records: IndexEngine, keyring: Keyring, policies: PolicyEngine, audit: AuditLog) -> PolicyRecord:
    """Which set was in force before; one that was changed past `policy reload` counts, and an officer is told."""
    record, fingerprint = PolicyRecord(records, key=keyring.ledger_key), policies.policies.fingerprint
    if record.fingerprint not in ("", fingerprint):
        words = f"policies {fingerprint[:16]} are in force; {record.fingerprint[:16]} were, and no reload changed them"
        alert = Alert.SECURITY_CONFIGURATION.value
        audit.record(SecurityAlert(Actor(), Outcome.SERIOUS_FAILURE, alert=alert, description=words))
    record.adopt(fingerprint)
    return record


def _stream_limits(limits: Limits) -> StreamLimits:
    """What one stored data set may ask of its reader, as the settings say."""
    return StreamLimits(
        elements=limits.data_set_elements,
        depth=limits.data_set_depth,
        inflated=limits.inflated_bytes,
        inflation=limits.inflation_ratio,
        tokenizer_seconds=limits.tokenizer_seconds,
    )


def receipt_policy(home: Home, settings: Settings, signing: SigningKeys) -> ReceiptPolicy:
    """What becomes of objects by their signatures, as the settings say.

    Raises:
        SettingsInvalid: a section or a file that it names is not what it should be.
    """
    required = local_profiles(home, settings).get(settings.signatures.require)
    known = trust_of(home, settings, signing.certificates)
    return ReceiptPolicy(
        settings.signatures, required, lambda: replace(known, archive=fingerprints(signing.certificates))
    )


def _pool(home: Home, settings: Settings, blobs: FilesystemBlobs) -> IntakePool:
    def tools() -> IntakeTools:
        signer = object_signer(home, settings)
        return IntakeTools(blobs, load_keyring(home, settings), signer, _stream_limits(settings.limits))

    return IntakePool(Nursery(tools), blobs, settings.storage.processes or min(os.cpu_count() or 1, _MAX_PROCESSES))


def finish_rebuild(archive: Archive) -> None:
    """Do in a thread what `open_archive` left for later, and tell the audit; whoever asks meanwhile is put off."""

    def work(progress: Progress) -> None:
        _tell_recovery(archive.audit, 0, archive.repository.finish_rebuild(progress))

    archive.rebuild.begin(work)


def _keeper(trail: AuditTrail, home: Home, settings: Settings, stamper: Stamper | None) -> CheckpointKeeper:
    file = _checkpoint_file(home, settings)
    return CheckpointKeeper(trail, seconds=settings.trail.checkpoint_seconds, file=file, stamper=stamper)


def _checkpoint_file(home: Home, settings: Settings) -> Path | None:
    file = settings.trail.checkpoint_file
    return home.inside(Path(file)) if file else None


def _stamper(home: Home, settings: Settings) -> Stamper | None:
    """Stamps lie beside the checkpoints that are carried, else in the home, from where somebody may fetch them."""
    if not settings.trail.timestamp_url:
        return None
    file = _checkpoint_file(home, settings)
    if file is None:
        home.forward.mkdir(mode=0o700, exist_ok=True)
        file = home.forward / "timestamps.jsonl"
    else:
        file = file.with_name(f"{file.name}.timestamps")
    ca = home.inside(Path(settings.trail.timestamp_ca))
    try:
        return Stamper(settings.trail.timestamp_url, ca, file, seconds=settings.trail.timestamp_seconds)
    except (OSError, ValueError):
        raise SettingsInvalid(f"trail.timestamp_ca: {ca} cannot be read, or holds no certificate (PEM)") from None


def _tell_recovery(audit: AuditLog, torn_trail: int, report: RecoveryReport) -> None:
    """Whatever start-up cut off or did again is an event of its own."""
    found = {
        "bytes of an incomplete record cut from the end of the audit trail": torn_trail,
        "bytes of an incomplete batch cut from the end of the ledger": report.torn_bytes,
        "committed events told to the audit trail late": report.recovered,
        "committed events brought into the index": report.indexed,
        "objects removed that were never committed": report.swept,
        "interrupted rebuild of the index done again": int(report.rebuilt),
        "objects erased whose erasure had been interrupted": report.erased,
    }
    words = "; ".join(f"{count} {what}" for what, count in found.items() if count)
    if words:
        description = f"after an unclean stop: {words}"
        alert = Alert.SECURITY_CONFIGURATION.value
        audit.record(SecurityAlert(Actor(), Outcome.MINOR_FAILURE, alert=alert, description=description))
