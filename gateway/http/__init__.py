"""HTTP for people, monitors and tools: what is served, how it is, and disks as images."""
