"""Object stores: named, immutable sequences of bytes, in S3, a directory or memory."""
