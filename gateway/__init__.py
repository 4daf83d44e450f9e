"""The storage gateway: the law of exports, the protocols that serve them, and the service around both."""

__version__ = "0.1.0"
