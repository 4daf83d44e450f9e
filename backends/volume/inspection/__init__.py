"""Volumes at rest: proven, mended, rebuilt and measured from their objects alone."""
