"""An independent checker of everything that is kept: objects, ledger and index, each against the others.

It reads what the others wrote and shares no code with them: the formats are read here once more, from
docs/on-disk-format.md, and what the index must say is derived here once more, from the objects. The inspection of data
sets, the verifier of signatures and the columns' values (`storage.index.columns`) are used as they are: they say what
bytes mean, not what was kept. It repairs nothing, writes nothing, and its memory does not grow with the archive.

Without a checkpoint kept elsewhere, an archive that was put back to an earlier state as a whole looks the same as one
that never went on. So what is found good is "internally consistent", never "complete".
"""

from storage.integrity.fsck.examination import check
from storage.integrity.fsck.report import Place, Report

__all__ = ["Place", "Report", "check"]
