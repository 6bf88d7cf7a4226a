"""Trained policies that act or are exported."""
