"""Whether the trail is what was written, and whether it tells of everything that the ledger committed."""

from dataclasses import dataclass
from pathlib import Path

from archive.audit.trail import read_trail
from archive.audit.trail_format import IncompleteFrame
from archive.errors import TrailDamaged


@dataclass(frozen=True, slots=True)
class TrailReport:
    """What a check of the trail found. ``faults`` empty: every record is authentic and in its place."""

    records: int
    ledger_position: int
    faults: tuple[str, ...] = ()


def verify_trail(folder: Path, key: bytes, *, being_written: bool = False) -> TrailReport:
    """Read every byte of the trail and check it.

    Args:
        folder: where the trail is kept.
        key: the audit key.
        being_written: a server is appending, so the last frame may be incomplete at this moment.
    """
    faults: list[str] = []
    records = position = 0
    try:
        for record in read_trail(folder, key):
            records, position = record.sequence, max(position, record.ledger)
    except IncompleteFrame as error:
        if not being_written:
            faults.append(str(error))
    except (TrailDamaged, OSError) as error:
        faults.append(str(error))
    if records == 0 and not faults and not being_written:
        faults.append("the audit trail is empty")
    faults.extend(f"{path.name}: not part of the audit trail" for path in _strangers(folder))
    return TrailReport(records, position, tuple(faults))


def _strangers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".trail"] if folder.is_dir() else []
