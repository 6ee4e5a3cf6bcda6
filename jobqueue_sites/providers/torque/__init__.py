"""Torque, and what takes its commands."""
