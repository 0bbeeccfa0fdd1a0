"""What every verb shares: the home it works on, how it prints, and how whatever goes wrong becomes one line.

A verb's module imports nothing heavy at its top: the parts of the archive are imported where they are used, so that
`strongroom --help` and a refused command line answer at once.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from archive.errors import ArchiveError, UsageInvalid
from archive.home import Home

PROGRAM = "strongroom"
GOOD, CHECK_FAILED, REFUSED = 0, 1, 2
"""Exit codes: all well; the check did not hold; usage, configuration, or the system."""
INTERRUPTED = 130

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="STRONGROOM_HOME", show_envvar=True, help="The archive's home.", metavar="HOME"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def verbs(help_text: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(help=help_text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def home_of(path: Path | None) -> Home:
    """The home that the command line or the environment names.

    Raises:
        UsageInvalid: neither does.
        HomeInvalid: it is none.
    """
    if path is None:
        raise UsageInvalid("no home is named: add --home HOME, or set STRONGROOM_HOME")
    home = Home.at(path)
    home.require()
    return home


def ask(path: Path | None, operation: str, /, **arguments: object) -> Any:
    """Have an operation done on the home, by its server or without one (`archive.control.invoke`)."""
    home = home_of(path)
    from archive.control.invoke import invoke
    from archive.logs import configure_log

    configure_log("warning")
    return invoke(home, operation, arguments)


def say(*lines: str) -> None:
    """Print lines for a person. What came from outside goes through `visible` first."""
    for line in lines:
        sys.stdout.write(line + "\n")


def note(line: str) -> None:
    """Tell a person something beside the result, on standard error."""
    sys.stderr.write(f"{PROGRAM}: {line}\n")


def print_json(value: object) -> None:
    """Print one JSON value, a list with one element a line."""
    if isinstance(value, list):
        sys.stdout.write("[" + ",".join(f"\n{_json(element)}" for element in value) + ("\n]\n" if value else "]\n"))
    else:
        sys.stdout.write(_json(value) + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need, the last one ragged."""
    cells = [[visible(_cell(value)) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def visible(text: str) -> str:
    """The text without anything that could move a terminal's cursor or hide a character."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))


def run(app: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    """Run one command line and exit: 0 good, 1 the check failed, 2 anything refused, never with a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  (it stays until the process ends)
    command = typer.main.get_command(app)
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
        code = GOOD
    except typer.Exit as leaving:
        code = leaving.exit_code
    except BrokenPipeError:
        # Whoever read us has seen enough; the interpreter's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = GOOD
    except KeyboardInterrupt:
        code = INTERRUPTED
    except typer.Abort:
        code = REFUSED
    except Exception as error:
        if os.environ.get("STRONGROOM_TRACEBACK"):
            raise
        code = _told(error)
    sys.exit(code)


def _told(error: Exception) -> int:
    """Say in one line what went wrong; the exit code for it."""
    number, message, code = _explained(error)
    line = "; ".join(part.strip() for part in message.splitlines() if part.strip())
    sys.stderr.write(f"{PROGRAM}: E{number} {visible(line)}\n")
    return code


def _explained(error: Exception) -> tuple[int, str, int]:
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else PROGRAM
        return UsageInvalid.number, f"{_lowered(error.format_message())}: see `{path} --help`", REFUSED
    from archive.cli.remedies import with_remedy
    from archive.control.protocol import OperationRefused, failure_of
    from auth.errors import AuthError
    from storage.errors import StorageError

    if isinstance(error, ArchiveError | StorageError | AuthError):
        failure = failure_of(error)
    elif isinstance(error, OperationRefused):
        failure = error.failure
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return ArchiveError.number, f"{place}{error.strerror or error}: see that it exists and is yours", REFUSED
    else:
        text = f"a defect: {type(error).__name__}: {error}: run again with STRONGROOM_TRACEBACK=1 and report it"
        return ArchiveError.number, text, REFUSED
    return failure.number, with_remedy(failure), failure.exit_code


def _lowered(message: str) -> str:
    message = message.strip().rstrip(".")
    return message[:1].lower() + message[1:]
