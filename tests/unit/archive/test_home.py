"""The home: what makes a folder one, and secrets that others can read."""

import pytest

from archive.errors import HomeInvalid, SecretExposed
from archive.home import Home, check_secret


def test_a_new_home_is_for_its_owner_alone(tmp_path):
    home = Home.at(tmp_path / "deep" / "home")
    home.create()
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_an_empty_folder_becomes_a_home_and_is_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    Home.at(tmp_path).create()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_holds_something_is_not_taken(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HomeInvalid, match="not empty"):
        Home.at(tmp_path).create()
    with pytest.raises(HomeInvalid, match="is a file"):
        Home.at(tmp_path / "file").create()


def test_a_folder_without_settings_is_no_home(tmp_path):
    with pytest.raises(HomeInvalid, match=r"strongroom\.toml"):
        Home.at(tmp_path).require()
    with pytest.raises(HomeInvalid, match="init"):
        Home.at(tmp_path / "none").require()
    (tmp_path / "strongroom.toml").touch()
    Home.at(tmp_path).require()


def test_paths_of_the_settings_count_from_the_home(tmp_path):
    home = Home.at(tmp_path)
    assert home.inside(home.root / "keys") == tmp_path / "keys"
    assert home.inside(home.ledger.relative_to(tmp_path)) == tmp_path / "ledger"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_secret_that_others_can_reach_is_refused(tmp_path, mode):
    secret = tmp_path / "keyring.json"
    secret.touch()
    secret.chmod(mode)
    with pytest.raises(SecretExposed, match="chmod 600"):
        check_secret(secret)
    secret.chmod(0o600)
    check_secret(secret)


def test_a_secret_that_is_not_there_or_no_file_is_refused(tmp_path):
    with pytest.raises(HomeInvalid):
        check_secret(tmp_path / "none")
    with pytest.raises(HomeInvalid, match="not a file"):
        check_secret(tmp_path)
