"""Builders, fakes, reference models and fault injection that the tests share."""
