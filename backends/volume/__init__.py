"""Volumes: disks kept as a log of immutable objects in an object store."""
