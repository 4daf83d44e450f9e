"""The other end of NBD: a client, for copying to and from servers of any make."""
