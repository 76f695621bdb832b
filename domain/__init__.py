"""The rules of the registry: aggregates, value objects, policies, events and the error tree.

Standard library only. No I/O, no clock, no randomness.
"""
