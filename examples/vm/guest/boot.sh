# Runs from the disk itself: checks what it holds, then adds a file of its own.
mount -o remount,rw /
cd /data
sha256sum -c ../installed.sha256
ls -l /data
[ ! -e "written-by-$DISK" ]
dd if=/dev/urandom of="written-by-$DISK" bs=1M count=1 2>/dev/null
sync
fstrim -v /
sha256sum "written-by-$DISK"
echo "booted from $DISK"
