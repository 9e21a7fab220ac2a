"""Mixtures of tastes: users represented by several taste vectors, after Kula (2018)."""

__version__ = "0.1.0"
