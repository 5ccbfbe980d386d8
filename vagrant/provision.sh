#!/bin/bash
# provision.sh NUMBER: makes a Debian machine node NUMBER of the network `foo`. Runs as root, and may
# run again. Node 1 founds the network; the others fetch an invite from it and join.
#
# Expects /tmp/grid, the program, and /tmp/invite_key: on node 1 the public half of a key that may
# ask for invites, elsewhere the private half.
set -euo pipefail

number=$1
address=192.168.56.$((10 + number))
founder=192.168.56.11
export HOME=/root

name_and_address() {
    echo "node$number" >/etc/hostname
    hostname "node$number"
    grep -q "node$number" /etc/hosts || echo "127.0.1.1 node$number" >>/etc/hosts
    # The second network card is the network between the machines.
    local interface
    interface=$(ip -o link show | awk -F ': ' '$2 !~ /^(lo|foo)/ { print $2 }' | sed -n 2p)
    ip address replace "$address/24" dev "$interface"
    ip link set "$interface" up
}

install_program() {
    if ! command -v wg >/dev/null; then
        # For people who want to look with `wg show`. grid itself does not need it.
        apt-get update -qq && apt-get install -qq -y --no-install-recommends wireguard-tools ||
            echo "wireguard-tools could not be installed; going on without wg" >&2
    fi
    install -m 0755 /tmp/grid /usr/local/bin/grid
    if ! grid --version; then
        echo "This machine cannot run the program: build it for glibc 2.36 or musl (see Vagrantfile)." >&2
        exit 1
    fi
}

# The key may run one command on node 1, and nothing else.
let_others_ask_for_invites() {
    install -d -m 0700 /root/.ssh
    local entry
    entry="command=\"/usr/local/bin/grid invite foo\",restrict $(cat /tmp/invite_key)"
    grep -qxF "$entry" /root/.ssh/authorized_keys 2>/dev/null ||
        echo "$entry" >>/root/.ssh/authorized_keys
}

# Machines come up in any order: node 1 may not have founded the network yet.
fetch_invite() {
    local invite tries
    chmod 0600 /tmp/invite_key
    for tries in $(seq 60); do
        if invite=$(ssh -i /tmp/invite_key -o BatchMode=yes -o ConnectTimeout=5 \
            -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR "root@$founder"); then
            echo "$invite"
            return
        fi
        sleep 5
    done
    echo "node1 gave no invite in $tries tries; is it up?" >&2
    return 1
}

name_and_address
install_program
if grid status foo >/dev/null 2>&1; then
    echo "node$number is in foo already"
elif [ "$number" = 1 ]; then
    grid create-wireguard-net foo
    let_others_ask_for_invites
else
    # From one pipe to the other: an invite is a secret and is not written down.
    fetch_invite | grid join-wireguard-net foo -
fi
rm -f /tmp/invite_key
grid status foo
