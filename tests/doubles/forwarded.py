"""Doubles that do one thing with every request: it comes to ``_call`` with its name."""

from __future__ import annotations


class ForwardedStore:
    """The requests of an `IObjectStore`, or of its blocking twin."""

    def put(self, key, parts, if_absent):
        return self._call("put", key, parts, if_absent)

    def get(self, key, start, length):
        return self._call("get", key, start, length)

    def head(self, key):
        return self._call("head", key)

    def list(self, prefix, after):
        return self._call("list", prefix, after)

    def delete(self, keys):
        return self._call("delete", keys)


class ForwardedExport:
    """The requests of an `IExport` that move no bytes in, and its end."""

    def write_zeroes(self, offset, length, may_trim, fua, fast):
        return self._call("write_zeroes", offset, length, may_trim, fua, fast)

    def trim(self, offset, length, fua):
        return self._call("trim", offset, length, fua)

    def flush(self):
        return self._call("flush")

    def extents(self, offset, length, first_only):
        return self._call("extents", offset, length, first_only)

    def cache(self, offset, length):
        return self._call("cache", offset, length)

    def close(self):
        return self._call("close")
