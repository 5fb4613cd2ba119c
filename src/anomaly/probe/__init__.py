"""Synthetic checks: ask as a user would, and report what came of it."""
