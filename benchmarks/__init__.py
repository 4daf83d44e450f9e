"""Benchmarks that anyone can run; every figure is a ratio against a peer in the same run."""
