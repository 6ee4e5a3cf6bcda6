"""Providers: each speaks to one batch system."""
