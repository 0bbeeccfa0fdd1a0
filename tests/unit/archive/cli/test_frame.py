"""What every verb shares: one line for whatever goes wrong, exit codes, and output that cannot drive a terminal."""

import json

import pytest
import typer

from archive.cli import frame
from archive.control.protocol import Failure, OperationRefused
from archive.errors import HomeInUse, TrailDamaged, UsageInvalid
from auth.errors import PolicyInvalid, RecordMissing
from storage.errors import IntegrityFault


def ran(action, capsys, *arguments):
    """Exit code, standard output and standard error of a one-verb command line."""
    app = frame.verbs("Test.")

    @app.command("do")
    def do(number: int = 0) -> None:
        action()

    @app.command("other")
    def other() -> None:
        pass

    with pytest.raises(SystemExit) as exited:
        frame.run(app, arguments or ["do"])
    out, err = capsys.readouterr()
    return exited.value.code, out, err


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageInvalid("x must be y"), 2, "E107 x must be y: see `strongroom --help`"),
        (HomeInUse("held by process 7: stop it"), 2, "strongroom: E104 held by process 7: stop it\n"),
        (TrailDamaged("record 3"), 1, "E111 record 3: keep the home as it is"),
        (RecordMissing("no user of that name"), 2, "E352 no user of that name: see `strongroom node list`"),
        (IntegrityFault("object x"), 1, "E220 object x: run `strongroom verify --full`"),
        (OperationRefused(Failure(351, "a user is there")), 2, "E351 a user is there: remove that one first"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 2, "E100 /x: No such file or directory"),
        (PolicyInvalid("one\n  two\n"), 2, "E320 one; two: correct the policies"),
        (UsageInvalid("\x1b[2Jcleared"), 2, "E107 \ufffd[2Jcleared"),
        (ZeroDivisionError("x"), 2, "E100 a defect: ZeroDivisionError: x"),
    ],
)
def test_whatever_goes_wrong_is_one_line_with_a_number_and_no_traceback(error, code, said, capsys):
    exited, out, err = ran(raising(error), capsys)
    assert (exited, out) == (code, "")
    assert said in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dance"], "no such command 'dance'"),
        (["do", "--dance"], "no such option"),
        (["do", "--number", "x"], "valid integer"),
        (["do", "extra"], "unexpected extra argument"),
        ([""], "no such command"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_that_names_the_help(arguments, said, capsys):
    exited, out, err = ran(lambda: None, capsys, *arguments)
    assert (exited, out) == (2, "")
    assert err.startswith("strongroom: E107 ") and said in err.lower() and "--help`" in err and err.count("\n") == 1


def test_exit_codes_are_the_verbs_own(capsys):
    assert ran(lambda: None, capsys)[0] == 0
    assert ran(raising(typer.Exit(1)), capsys)[0] == 1
    assert ran(raising(KeyboardInterrupt()), capsys)[0] == 130


def test_a_defect_shows_its_traceback_where_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("STRONGROOM_TRACEBACK", "1")
    app = frame.verbs("Test.")
    app.command("do")(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        frame.run(app, [])


def test_no_home_is_an_error_that_says_how_to_name_one():
    with pytest.raises(UsageInvalid, match="STRONGROOM_HOME"):
        frame.home_of(None)


def test_json_is_one_value_and_a_list_is_a_line_for_each_element(capsys):
    frame.print_json([{"a": 1}, {"b": "\u2028\x1b"}])
    text = capsys.readouterr().out
    assert json.loads(text) == [{"a": 1}, {"b": "\u2028\x1b"}]
    assert text.isascii() and len(text.splitlines()) == 4
    frame.print_json([])
    assert capsys.readouterr().out == "[]\n"


def test_a_table_shows_every_kind_of_value_and_nothing_that_moves_the_cursor(capsys):
    frame.print_table(("name", "x"), [("a\x1b[31m", ["b", "c"]), (None, []), (True, {"k": "v"}), ("\u202ereversed", 3)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "x"]
    assert "\x1b" not in "".join(lines) and "\u202e" not in "".join(lines)
    assert lines[1].endswith("b, c") and lines[2].split() == ["-", "-"] and lines[3].split() == ["yes", "k=v"]
