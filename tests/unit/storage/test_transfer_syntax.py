"""Which syntaxes are stored is a matter of PS3.6, not of which libraries happen to be loaded."""

import subprocess
import sys

import pytest

from storage.errors import UnsupportedTransferSyntax
from storage.transfer_syntax import acceptable, supported, transfer_syntax

EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"


def test_the_same_syntaxes_are_stored_with_and_without_the_network_library():
    program = "import sys; {}from storage.transfer_syntax import supported; print(sorted(supported()))"
    said = {
        subprocess.run([sys.executable, "-c", program.format(first)], capture_output=True, text=True, check=True).stdout
        for first in ("", "import pynetdicom; ")
    }
    assert len(said) == 1


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.20", "1.2.3"])
def test_a_syntax_that_encodes_no_stored_data_set_is_refused(uid):
    assert uid not in supported()
    with pytest.raises(UnsupportedTransferSyntax):
        transfer_syntax(uid)


def test_a_store_context_takes_the_first_explicit_syntax_else_the_first():
    assert acceptable([IMPLICIT, JPEG, EXPLICIT]) == JPEG
    assert acceptable([IMPLICIT, "1.2.3"]) == IMPLICIT
    assert acceptable(["1.2.3"]) is None
