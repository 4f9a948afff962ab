#!/bin/busybox sh
# The first program of a guest that `refault capture` builds.
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /usr/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp LC_ALL=C
echo "refault: the guest is up, $(grep -c ^processor /proc/cpuinfo) vCPUs"
mark 1
sh /workload
status=$?
[ $status = 0 ] || { echo "refault: the workload failed with status $status"; sleep 1; mark 3; }
mark 2
echo "refault: done"
poweroff -f
