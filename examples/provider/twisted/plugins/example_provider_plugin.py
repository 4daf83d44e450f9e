"""Makes ``provider = pattern`` known."""

from example_provider import PatternProvider

pattern = PatternProvider()
