"""Provider ``file``: a raw disk in a regular file or on a block device of this machine."""
