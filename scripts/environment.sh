# Sourced by the other scripts: system packages where they may be installed, and the Python environment in .venv.
# shellcheck shell=bash

say() { printf '== %s\n' "$*" >&2; }
fail() { printf 'strongroom: %s\n' "$*" >&2; exit 2; }

# system_packages WHY PACKAGE... : install what is missing; where that is not permitted, say which and go on.
system_packages() {
    local why=$1 missing=() package
    shift
    command -v dpkg-query >/dev/null || { say "not a Debian or Ubuntu system; $why may need: $*"; return 0; }
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local run=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then run=(sudo -n); else
            say "$why wants system packages that only root can install: apt-get install ${missing[*]}"
            return 0
        fi
    fi
    say "installing system packages for $why: ${missing[*]}"
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1 || say "apt-get update failed; trying on"
    "${run[@]}" sh -c "$INSTALL_WITHOUT_DAEMONS" sh "${missing[@]}" >/dev/null 2>&1 && return 0
    # One that cannot be had keeps back all that are asked for with it.
    local refused=()
    for package in "${missing[@]}"; do
        "${run[@]}" sh -c "$INSTALL_WITHOUT_DAEMONS" sh "$package" >/dev/null || refused+=("$package")
    done
    [ ${#refused[@]} -eq 0 ] || say "could not install: ${refused[*]}"
}

# Some packages bring a daemon that would run with a database of its own from now on (slapd, krb5-kdc). The tests start
# their own, so the daemons are neither started by the installation (policy-rc.d, see invoke-rc.d(8)) nor at the next
# start of the machine. A policy that the machine has stays as it is.
INSTALL_WITHOUT_DAEMONS='
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    trap "exit 1" HUP INT TERM
    printf "#!/bin/sh\nexit 101\n" >"$policy"
    chmod 755 "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
code=$?
for package in "$@"; do
    [ ! -e "/etc/init.d/$package" ] || update-rc.d "$package" disable >/dev/null 2>&1
done
exit $code
'

# a_python : the newest suitable interpreter.
a_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# python_environment EXTRAS : make or renew .venv for these extras; done once per state of pyproject.toml.
python_environment() {
    local extras=$1 stamp python
    stamp=.venv/.installed-$(printf '%s %s' "$extras" "$(cat pyproject.toml)" | sha256sum | cut -c1-16)
    [ -e "$stamp" ] && return 0
    a_python >/dev/null || system_packages "Python" python3 python3-venv python3-dev
    python=$(a_python) || fail "Python 3.11 or later with venv is needed: apt-get install python3 python3-venv"
    [ -x .venv/bin/python ] || { say "making .venv with $("$python" --version)"; "$python" -m venv .venv; }
    say "installing Python packages ($extras)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
    touch "$stamp"
}

# directory_extras : python-ldap and pykerberos, which build against system headers; the server starts without them.
directory_extras() {
    .venv/bin/python -c 'import ldap, kerberos' 2>/dev/null && return 0
    system_packages "LDAP and Kerberos" gcc python3-dev libldap2-dev libsasl2-dev libkrb5-dev
    say "building python-ldap and pykerberos"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[ldap,kerberos]" ||
        say "python-ldap or pykerberos could not be built; directories and Kerberos stay unavailable"
}

# node_packages PACKAGE@VERSION... : JavaScript peers of the tests, beside the Python environment; tests skip without.
node_packages() {
    # A Node.js that is not Debian's brings its npm along, and Debian's does not go with it.
    command -v npm >/dev/null || system_packages "JavaScript peers" nodejs npm
    command -v npm >/dev/null || { say "no npm: the tests with $* as peers are skipped"; return 0; }
    local package missing=()
    for package in "$@"; do [ -e ".venv/node/$package" ] || missing+=("$package"); done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing JavaScript packages: ${missing[*]}"
    if npm install --silent --no-audit --no-fund --ignore-scripts --prefix .venv/node "${missing[@]}" >/dev/null; then
        for package in "${missing[@]}"; do touch ".venv/node/$package"; done
    else
        say "could not install: ${missing[*]}"
    fi
}
