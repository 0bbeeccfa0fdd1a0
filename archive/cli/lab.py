"""``strongroom lab``: everything that vouches for people, to try it all on one machine and throw it away."""

import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from archive.cli.frame import PROGRAM, HomeOption, home_of, note, say, verbs
from archive.errors import HomeInvalid, ServerUnreachable, UsageInvalid

if TYPE_CHECKING:
    from archive.lab.hospital import LabHospital

app = verbs("A throw-away hospital on this machine, to try everything with.")

NODE: Final = "LAB"
RENEW_SECONDS: Final = 5.0
"""How often fresh credentials are written; a Kerberos ticket is good for one association."""
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command("up")
def up(
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new or empty folder, which is kept; default: a temporary one.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Run a directory, a Kerberos realm, a SAML and a JWT issuer on loopback, until Ctrl-C; then nothing of it runs.

    Without a home, an archive that believes them is made and served as well. With one, that home is left alone: the
    sections for its settings are written to DIR/providers.toml.
    """
    from archive.settings import Settings, load_settings

    existing = home_of(home) if home is not None else None
    settings = load_settings(existing.settings) if existing is not None else Settings()
    with ExitStack() as held:
        place = _empty_folder(folder) if folder is not None else Path(held.enter_context(_temporary()))
        ending = held.enter_context(_ending())
        from archive.lab.hospital import LabHospital

        title, server = settings.archive.ae_title, None
        hospital = held.enter_context(LabHospital(place, f"urn:dicom:ae:{title}"))
        for words in hospital.missing:
            note(words)
        (place / "providers.toml").write_text(hospital.settings())
        if existing is not None:
            _say_how_to_let_it_in(place, hospital, existing.root)
            address = f"{settings.listen.host} {settings.listen.port}"
        else:
            _make_home(place, hospital)
            server, address = held.enter_context(_serving(place / "home"))
        _say_commands(place, hospital, address, title)
        while not ending.wait(RENEW_SECONDS, server):
            hospital.renew_credentials()
    say("nothing of it runs any more")


class _Ending:
    """Whether somebody asked us to end. A signal interrupts nothing that is half done, and nothing is inherited."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told

    def wait(self, seconds: float, server: "subprocess.Popen[str] | None") -> bool:
        """Until asked to (True), or for so long (False).

        Raises:
            ServerUnreachable: the archive ended before us.
        """
        output = server.stdout if server is not None else None
        watched = [self._told.fileno(), *([output.fileno()] if output is not None else [])]
        readable, _, _ = select.select(watched, [], [], seconds)
        if readable and self._told.fileno() not in readable:
            raise ServerUnreachable("the archive of the lab ended by itself: see its log above")
        return bool(readable)


@contextmanager
def _ending() -> Iterator[_Ending]:
    told, tell = socket.socketpair()
    with told, tell:
        tell.setblocking(False)
        former_descriptor = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        former = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        try:
            yield _Ending(told)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_descriptor)


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="strongroom-lab-")


def _empty_folder(folder: Path) -> Path:
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageInvalid(f"{folder} is not empty: name a new folder, nothing is overwritten")
        folder.chmod(0o700)
    except OSError as error:
        raise UsageInvalid(f"{folder} cannot be made ({error.strerror}): name a folder that you may write") from None
    return folder


def _make_home(place: Path, hospital: "LabHospital") -> None:
    """A home beside the servers that believes them, with one node, and an object to send."""
    from pydicom.data import get_testdata_file

    from archive.cli.init import init
    from archive.cli.node import add as add_node
    from archive.cli.user import add as add_user

    home = place / "home"
    init(home, port=0)
    add_node(NODE, issue=place / "node", role=_roles(hospital), home=home)
    for principal, roles in hospital.principals.items():
        add_user(principal, role=list(roles), home=home)
    with (home / "strongroom.toml").open("a") as settings:
        settings.write("\n" + hospital.settings())
    example = get_testdata_file("CT_small.dcm", download=False)
    if example is None:
        raise HomeInvalid("pydicom came without its example files: install it again")
    shutil.copy(str(example), place / "image.dcm")


@contextmanager
def _serving(home: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The archive, in a process and session of its own: a Ctrl-C at the terminal is for us, who then end it."""
    command = [sys.executable, "-m", "archive", "serve", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:  # noqa: S603
        try:
            yield server, _address(server)
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def _address(server: "subprocess.Popen[str]") -> str:
    """Where it listens, once it does, as DCMTK takes it: host and port."""
    assert server.stdout is not None
    readable, _, _ = select.select([server.stdout], [], [], START_SECONDS)
    words = server.stdout.readline().split() if readable else []
    if words[:2] != ["ready", "dicom-tls"]:
        raise ServerUnreachable("the archive of the lab does not come up: see its log above")
    host, _, port = words[2].rpartition(":")
    return f"{host} {port}"


def _roles(hospital: "LabHospital") -> list[str]:
    return sorted({role for person in hospital.people for role in person.roles})


def _say_how_to_let_it_in(place: Path, hospital: "LabHospital", home: Path) -> None:
    at = ["--home", str(home)]
    commands = [
        [PROGRAM, "node", "add", NODE, "--issue", str(place / "node"), *_as_options(_roles(hospital)), *at],
        *([PROGRAM, "user", "add", name, *_as_options(roles), *at] for name, roles in hospital.principals.items()),
    ]
    providers, settings = (shlex.quote(str(path)) for path in (place / "providers.toml", home / "strongroom.toml"))
    say(f"{home} is as it was. To let it believe the lab, for as long as the lab runs:", "")
    say(f"  cat {providers} >> {settings}", *(f"  {shlex.join(command)}" for command in commands))
    say("", f"and start `{PROGRAM} serve` again. Take the sections out when the lab has ended.")


def _as_options(roles: Iterable[str]) -> list[str]:
    return [word for role in roles for word in ("--role", role)]


def _say_commands(place: Path, hospital: "LabHospital", address: str, title: str) -> None:
    """A storescu command for each person and kind of credential, ready to be pasted."""
    files = hospital.renew_credentials()
    material = place / "node"
    tls = ["+tls", str(material / "key.pem"), str(material / "cert.pem"), "+cf", str(material / "ca.pem")]
    image = place / "image.dcm" if (place / "image.dcm").exists() else Path("image.dcm")
    for person in hospital.people:
        offers = [["-usr", person.name, "-pwd", person.passcode]] if hospital.directory else []
        for kind, option in (("kerberos", "-kt"), ("saml", "--saml"), ("jwt", "--jwt")):
            if (person.name, kind) in files:
                offers.append([option, str(files[person.name, kind])])
        say("", f"{person.name}, {' and '.join(person.roles)}:", "")
        for offer in offers:
            command = [_storescu(), "-aet", NODE, "-aec", title, *tls, "-rsp", *offer, *address.split(), str(image)]
            say(f"  {shlex.join(command)}")
    say(
        "",
        f"Credentials are written anew every {RENEW_SECONDS:g} seconds; a Kerberos ticket is good for one association.",
        "Ctrl-C ends all of it.",
    )
    sys.stdout.flush()


def _storescu() -> str:
    """DCMTK's, by its path: pynetdicom brings a program of the same name, which knows none of these options."""
    return shutil.which("storescu", path="/usr/bin:/usr/local/bin") or "storescu"
