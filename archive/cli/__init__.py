"""The command line: ``strongroom VERB …``, one module for each verb or family of verbs.

What lives here: arguments, output, exit codes. What must never: a decision, or a change that goes around
`archive.control`, where it would be neither locked nor audited.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line of this process, or the one given, and exit."""
    from archive.cli.app import build
    from archive.cli.frame import run

    run(build(), sys.argv[1:] if arguments is None else arguments)
