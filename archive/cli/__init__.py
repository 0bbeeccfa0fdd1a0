"""The command line: ``strongroom VERB …``, one module for each verb or family of verbs.

What lives here: arguments, output, exit codes. What must never: a decision, or a change that goes around
`archive.control`, where it would be neither locked nor audited.
"""

import gc
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

_COLLECTED_AFTER: Final = 20_000
"""New objects between two looks for cycles. Imports alone make some hundred thousand that stay; at Python's 700 a fifth
of a short verb's time went into looking at those again."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line of this process, or the one given, and exit."""
    gc.set_threshold(_COLLECTED_AFTER)
    from archive.cli.app import build
    from archive.cli.frame import run

    run(build(), sys.argv[1:] if arguments is None else arguments)
