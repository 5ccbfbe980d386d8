#!/bin/sh
# Makes a machine a node of the network `foo`: installs the program, starts it, founds or joins.
#
#     provision.sh found|join SHARE
#
# SHARE is a folder with the program, `grid.deb` or `grid`; whichever is there is installed. The founder
# leaves an invite in it, `foo.invite`, and those who join wait for that. Vagrant runs this script in its
# machines (as root), and the scenario `provision_makes_three_machines_a_network` runs it in the lab. It may
# be run again, and then changes only what is not as it should be.
#
# GRID_HOME      the node's home; default /var/lib/grid
# GRID_PREFIX    where a program that is not a package goes: GRID_PREFIX/bin; default /usr/local
# GRID_SERVICE   systemd or background; default: systemd if it is the machine's init
# GRID_ENDPOINT  ADDRESS:PORT at which the others can reach this machine, for the invite
# GRID_PATIENCE  how long to wait for the invite, in seconds; default 600
set -eu

role=${1:-} share=${2:-}
case "$role" in
found | join) ;;
*) share="" ;;
esac
if [ ! -d "$share" ]; then
    echo "usage: provision.sh found|join SHARE; SHARE is a folder" >&2
    exit 2
fi
net=foo
invite=$share/$net.invite
GRID_HOME=${GRID_HOME:-/var/lib/grid}
export GRID_HOME
prefix=${GRID_PREFIX:-/usr/local}
PATH=$prefix/bin:$PATH
service=${GRID_SERVICE:-}
if [ -z "$service" ]; then
    service=background
    if [ -d /run/systemd/system ]; then service=systemd; fi
fi

say() {
    echo "provision: $*"
}

fail() {
    echo "provision: $*" >&2
    exit 1
}

# Whether the package's program and units are already installed.
is_installed() {
    dpkg -s grid 2>/dev/null | grep -q '^Status: install ok installed' || return 1
    new=$(mktemp -d) same=yes
    dpkg-deb -x "$share/grid.deb" "$new"
    for file in "$new"/usr/bin/grid "$new"/lib/systemd/system/*; do
        cmp -s "$file" "${file#"$new"}" || same=""
    done
    rm -rf "$new"
    [ -n "$same" ]
}

install_program() {
    if [ -e "$share/grid.deb" ]; then
        if ! is_installed; then
            said=$(dpkg -i "$share/grid.deb" 2>&1) || fail "$said"
        fi
    elif [ -e "$share/grid" ] && ! cmp -s "$share/grid" "$prefix/bin/grid"; then
        mkdir -p "$prefix/bin"
        # Written beside it and renamed: a running program cannot be overwritten.
        install -m 0755 "$share/grid" "$prefix/bin/grid.new"
        mv "$prefix/bin/grid.new" "$prefix/bin/grid"
        # A package does this itself.
        if [ "$service" = systemd ]; then
            systemctl try-restart grid.service 2>/dev/null || true
        fi
    fi
    grid --version || fail "this machine cannot run the program: it was built for a newer C library. \
Build it on Debian 12 or for musl."
}

# Some commands also answer without a server, for a home that is in no network. `invite` needs a server, and
# does nothing for a network that does not exist.
server_answers() {
    code=0
    grid invite no-such-net >/dev/null 2>&1 || code=$?
    [ "$code" != 3 ]
}

start_service() {
    if [ "$service" = systemd ]; then
        if ! systemctl cat grid.service >/dev/null 2>&1; then
            grid install-service
        fi
        systemctl -q enable --now grid.service
    else
        grid start-server --background
    fi
    tries=0
    until server_answers; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || fail "the server of $GRID_HOME does not answer"
        sleep 1
    done
}

is_member() {
    grid status "$net" >/dev/null 2>&1
}

# Written whole or not at all, and readable by its owner only: whoever has it can join.
leave_invite() {
    new=$(mktemp "$share/.$net.XXXXXX")
    if [ -n "${GRID_ENDPOINT:-}" ]; then
        grid invite "$net" --uses 250 --endpoint "$GRID_ENDPOINT" >"$new"
    else
        grid invite "$net" --uses 250 >"$new"
    fi
    mv "$new" "$invite"
    say "an invite for 250 machines and 24 hours is in $invite"
}

join() {
    waited=0
    while [ ! -s "$invite" ]; do
        [ "$waited" -lt "${GRID_PATIENCE:-600}" ] || fail "there is no invite in $invite. \
Is the machine that founds $net up? Run this again then."
        [ "$waited" != 0 ] || say "waiting for $invite"
        waited=$((waited + 1))
        sleep 1
    done
    grid join-wireguard-net "$net" --wait 120s - <"$invite"
}

install_program
start_service
if is_member; then
    say "this machine is in $net already"
elif [ "$role" = found ]; then
    grid create-wireguard-net "$net"
else
    join
fi
if [ "$role" = found ]; then leave_invite; fi
grid status "$net"
