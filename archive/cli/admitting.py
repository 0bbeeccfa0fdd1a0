"""Which command would admit what was refused, by the reason that the trail gives.

The phrases are those of `archive.dimse.admission`, `auth.node` and `auth.identity`; a trail is read for years, so a
phrase that is changed there stays here. Where nothing fits, the refusal is the peer's to mend, and there is no command.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

_TITLE: Final = "AE_TITLE"
_ANEW: Final = "strongroom node remove {title}; strongroom node add {title} {how} --role ROLE"
_ADD: Final = "strongroom node add {title} {how} --role ROLE"


def _with(command: str, how: str) -> str:
    return command.replace("{how}", how)


NODES: Final = (
    ("no node is registered with this certificate", _with(_ADD, "--certificate PEM")),
    ("not issued by our node CA", _with(_ADD, "--certificate PEM")),
    ("TLS: unable to get local issuer certificate", _with(_ADD, "--certificate PEM")),
    ("TLS: self-signed certificate", _with(_ADD, "--certificate PEM")),
    ("the peer sent no certificate", _with(_ADD, "--issue DIR")),
    ("TLS: PEER_DID_NOT_RETURN_A_CERTIFICATE", _with(_ADD, "--issue DIR")),
    ("no node is registered for this AE title without TLS", _with(_ADD, "--plain")),
    ("the node is registered without TLS", _with(_ANEW, "--issue DIR")),
    ("not the certificate that was pinned", _with(_ANEW, "--certificate PEM")),
    ("the certificate has expired", "strongroom cert renew {title} --out DIR"),
    ("the certificate was revoked here", "strongroom cert issue {title} --out DIR"),
    ("too weak", _with(_ANEW, "--issue DIR")),
    ("the key is weaker", _with(_ANEW, "--issue DIR")),
    ("is not for", _with(_ANEW, "--issue DIR")),
)
"""Phrases of reasons for which a node is refused, and what admits it."""

_OTHER_TITLE: Final = "the calling AE title does not belong to the node"
_FACILITY: Final = "facility/"

PEOPLE: Final = (
    ("wrong passcode", "strongroom user passcode {name}"),
    ("nobody vouches for this name", "strongroom user add {name} --role ROLE --passcode-file -"),
    ("the user is disabled", "strongroom user disable {name} --undo"),
    ("bare user names are not believed", _with(_ANEW, "--certificate PEM --asserts-users ROLE")),
    ("may assert none of the user's roles", _with(_ANEW, "--certificate PEM --asserts-users ROLE")),
    ("must say who is at it", _with(_ANEW, "--certificate PEM --identity optional")),
)
"""Phrases of reasons for which a person is refused."""

_TYPE: Final = re.compile(r"the node may not use user identity type ([1-5])")
_CREDENTIALS: Final = {"ticket": "kerberos", "assertion": "saml", "token": "jwt"}
_CREDENTIAL: Final = re.compile(r"the (ticket|assertion|token)\b")


def admit_node(actor: Mapping[str, Any], reason: str) -> str:
    """For a refused certificate, or a title that is not its node's."""
    title, node = actor.get("ae_title") or _TITLE, actor.get("node")
    if _OTHER_TITLE in reason:
        if node is None or node.startswith(_FACILITY):
            return _filled(_ADD, title=title, how="--certificate PEM")
        return _filled(_ANEW, title=node, how=f"--certificate PEM --ae {shlex.quote(title)}")
    return _first(NODES, reason, title=title)


def admit_person(claimed: str, actor: Mapping[str, Any], reason: str) -> str:
    """For an identity that was missing or not good."""
    title = actor.get("node") or actor.get("ae_title") or _TITLE
    wanted = _TYPE.search(reason)
    if wanted:
        return _filled(_ANEW, title=title, how=f"--certificate PEM --identity-types {wanted[1]}")
    credential = _CREDENTIAL.match(reason)
    if credential:
        # Whoever issued it decides; this shows step by step what is wrong with the next one.
        kind = _CREDENTIALS[credential[1]]
        return _filled("strongroom identity test --type {how} --file F --node {title}", title=title, how=kind)
    return _first(PEOPLE, reason, title=title, name=claimed or "NAME")


def ask_policy(facts: Mapping[str, Any]) -> str:
    """For what policy denied: which rules did, and whose role is missing."""
    actor = facts.get("actor", {})
    if not actor.get("node") or not facts.get("action"):
        return ""
    words = ["strongroom", "policy", "explain", facts["action"], "--node", actor["node"]]
    words += ["--user", actor["person"]] if actor.get("person") else []
    words += ["--study", facts["study_uid"]] if facts.get("study_uid") else []
    return shlex.join(words)


def _first(table: tuple[tuple[str, str], ...], reason: str, **names: str) -> str:
    command = next((command for phrase, command in table if phrase in reason), "")
    return _filled(command, **names)


def _filled(command: str, *, how: str = "", **names: str) -> str:
    """The command with names quoted for the shell; ``how`` is words of ours, with what is claimed quoted already."""
    values = {**{name: shlex.quote(value) for name, value in names.items()}, "how": how}
    # In one pass: a name may look like a place for another.
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], command)
