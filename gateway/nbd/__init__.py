"""The NBD protocol: cores without I/O, and the thin files that move their bytes."""
