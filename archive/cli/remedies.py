"""What an operator can do about an error whose own text only says what is wrong: those of storage, auth and audit.

The other errors of `archive` say it themselves, since they know the place.
"""

from typing import Final

from archive.control.protocol import Failure

_REMEDIES: Final = {
    101: "correct it and run the command again",
    107: "see `strongroom --help`",
    110: "free space or repair the file system under the audit trail, then try again",
    111: "keep the home as it is, look into who wrote to it, and restore the trail from your backup",
    112: "start the server once, which cuts off what a crash left",
    118: "look into who wrote to the home, and restore records.sqlite from your backup",
    200: "see the server's log",
    201: "check the UID",
    202: "the file is damaged or not DICOM; get it again",
    203: "the file is larger or deeper than the limits allow",
    206: "store it in another transfer syntax",
    210: "free space on the file system of the home",
    211: "look at the disk and the server's log, then restart the server",
    212: "wait for the rebuild, or run `strongroom rebuild`",
    209: "store it under another SOP Instance UID",
    215: "send it again; where that happens again, see the server's log",
    217: "ask for it in the transfer syntax that it is stored in",
    216: "release it with `strongroom study release`",
    213: "run `strongroom verify`, then `strongroom rebuild`",
    214: "look at the disk and the server's log, then restart the server, which finds out",
    220: "run `strongroom verify --full` and restore what it names from your backup",
    221: "restore the object from your backup",
    222: "restore the keyring from your backup",
    223: "restore the keyring from your backup, or correct [keys] in the settings",
    224: "make it readable by its owner alone",
    225: "run `strongroom verify`, look into who wrote to the home, and restore the ledger from your backup",
    230: "hide less of it, or give it out to those who may see all of it",
    240: "choose other elements or another profile",
    241: "see that the token is there and open to you, or correct keys.signer in the settings",
    242: "see which signatures [signatures] in the settings accepts",
    300: "see the server's log",
    302: "get a certificate that is valid, for TLS clients and with a key of today's length",
    316: "correct the provider's section in the settings",
    320: "correct the policies, then run `strongroom policy check`",
    321: "run `strongroom policy check`",
    340: "see that the file is there, is yours alone, and is not encrypted",
    350: "correct it and run the command again",
    351: "remove that one first, or choose another name",
    352: "see `strongroom node list` and `strongroom user list`",
}
_SAY_IT_THEMSELVES: Final = frozenset({101, 107})
"""Unless they only say what must be."""


def with_remedy(failure: Failure) -> str:
    """The failure's message, with what to do about it."""
    remedy = _REMEDIES.get(failure.number)
    if failure.number in _SAY_IT_THEMSELVES and ": " in failure.message:
        remedy = None
    message = failure.message.rstrip()
    return f"{message}: {remedy}" if remedy else message
