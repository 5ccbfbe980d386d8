#!/bin/sh
# Gives a virtual machine its name and its address on the network between the machines, now and after
# every start. It does what Vagrant itself would do, in a few commands instead of many logins.
#
#     machine.sh NAME ADDRESS
set -eu
name=$1 address=$2

echo "$name" >/etc/hostname
hostname "$name"
grep -q " $name\$" /etc/hosts || echo "127.0.1.1 $name" >>/etc/hosts

# The second network card is the network between the machines.
card=$(cd /sys/class/net && for card in *; do
    if [ -e "$card/device" ]; then echo "$(cat "$card/ifindex") $card"; fi
done | sort -n | sed -n '2s/.* //p')
if [ -z "$card" ]; then
    echo "machine.sh: there is no second network card" >&2
    exit 1
fi
if [ -d /etc/network/interfaces.d ]; then
    printf 'auto %s\niface %s inet static\n    address %s/24\n' "$card" "$card" "$address" \
        >/etc/network/interfaces.d/grid
fi
ip address replace "$address/24" dev "$card"
ip link set "$card" up
