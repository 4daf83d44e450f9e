"""The storage gateway: the law of exports, the protocols that serve them, the service."""

__version__ = "0.1.0"
