#!/usr/bin/env bash
# Starts a small real Ceph cluster with an S3 gateway on 127.0.0.1, as root, from Debian's packages:
#   apt-get install -y --no-install-recommends ceph-mon ceph-osd ceph-mgr ceph-common radosgw curl
# Usage: ceph-rgw.sh DIR MON_PORT S3_PORT [OSDS]    DIR is emptied; one OSD unless said otherwise, 6 GiB each, sparse
# It returns when the gateway answers. The process numbers lie in DIR/run/*.pid. Access key AKFARDEL, secret SKFARDEL.
set -euo pipefail
dir=$(realpath -m "$1") mon_port=$2 s3_port=$3 osds=${4:-1}
fsid=$(cat /proc/sys/kernel/random/uuid)

# What asks the monitor before it knows the cluster's id itself ends with EPERM ("wrong fsid") on a busy machine.
again() {
    local try
    for ((try = 0; try < 10; try++)); do
        "$@" && return
        sleep 0.5
    done
    return 1
}

rm -rf "$dir"
mkdir -p "$dir"/{mon,mgr/x,run,osd}
cat >"$dir/ceph.conf" <<END
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$mon_port
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = $osds
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = $dir/run
log file = $dir/\$name.log
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
mon data = $dir/mon/\$id
mgr data = $dir/mgr/\$id
osd data = $dir/osd/\$id
osd objectstore = bluestore
bluestore block size = 6442450944
bluestore fsck on mount = false
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
rgw frontends = beast endpoint=127.0.0.1:$s3_port
END
export CEPH_CONF="$dir/ceph.conf"
monmaptool --create --clobber --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$dir/monmap" -c "$CEPH_CONF"
ceph-mon -i a -c "$CEPH_CONF"
ceph-mgr -i x -c "$CEPH_CONF"
for ((i = 0; i < osds; i++)); do
    mkdir -p "$dir/osd/$i"
    uuid=$(cat /proc/sys/kernel/random/uuid)
    again ceph -c "$CEPH_CONF" osd new "$uuid" >/dev/null
    ceph-osd -i "$i" -c "$CEPH_CONF" --mkfs --osd-uuid "$uuid"
    again ceph-osd -i "$i" -c "$CEPH_CONF"
done
radosgw -n client.rgw.a -c "$CEPH_CONF"
for ((i = 0; i < 240; i++)); do
    curl -sf -o /dev/null "http://127.0.0.1:$s3_port" && break
    sleep 0.25
done
radosgw-admin -c "$CEPH_CONF" -n client.rgw.a user create --uid fardel --display-name fardel \
    --access-key AKFARDEL --secret SKFARDEL >/dev/null
