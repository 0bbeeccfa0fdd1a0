"""``strongroom keys``: the keys that sign objects and that encrypt their keys."""

from archive.cli.frame import HomeOption, JsonOption, ask, print_json, print_table, say, verbs, visible

app = verbs("Keys that sign, and keys that encrypt keys.")
rotate = verbs("Take a new key from now on; what the former one did stays valid.")
app.add_typer(rotate, name="rotate")


@app.command("list")
def listed(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every signer there ever was and every key-encryption key; no secret."""
    keys = ask(home, "keys.list")
    if as_json:
        print_json(keys)
        return
    columns = ("subject", "serial", "from", "until", "current", "kept_in")
    print_table(columns, ([one[column] for column in columns] for one in keys["signers"]))
    say("")
    print_table(("key-encryption key", "current"), ([one["id"], one["current"]] for one in keys["key_encryption_keys"]))


@rotate.command("signer")
def signer(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make a new signing key and certificate, in the token where `keys.signer` names one; the old key is destroyed.

    Also beside a running server. Signatures of former signers stay valid as long as their certificates are kept.
    """
    made = ask(home, "keys.rotate-signer")
    if as_json:
        print_json(made)
    else:
        say(visible(f"signed by {made['signer']} from now on, its key is in a {made['kept_in']}"))


@rotate.command("encryption")
def encryption(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make a new key-encryption key for new objects; those kept stay readable under the keys before.

    Copy the keyring to its safe place again afterwards: who has only the old copy cannot read new objects.
    """
    made = ask(home, "keys.rotate-encryption")
    if as_json:
        print_json(made)
    else:
        say(visible(f"key-encryption key {made['id']} from now on: copy {made['keyring']} to its safe place again"))
