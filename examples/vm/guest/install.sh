# Makes a file system on the disk, puts this very system onto it, and some files.
mkfs.ext4 -q -F -L root /dev/vda
mount /dev/vda /mnt
for place in bin sbin lib lib64 usr etc; do
    [ ! -e "/$place" ] || cp -a "/$place" /mnt/
done
mkdir /mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt/mnt /mnt/root /mnt/data
for number in 1 2 3 4; do
    dd if=/dev/urandom of="/mnt/data/$number" bs=1M count=2 2>/dev/null
done
dd if=/dev/zero of=/mnt/data/zeroes bs=1M count=3 2>/dev/null
(cd /mnt/data && sha256sum * >../installed.sha256)
# What is deleted and trimmed takes no space in the store.
dd if=/dev/urandom of=/mnt/deleted bs=1M count=8 2>/dev/null
sync
rm /mnt/deleted
sync
fstrim -v /mnt
umount /mnt
echo "installed on $DISK"
