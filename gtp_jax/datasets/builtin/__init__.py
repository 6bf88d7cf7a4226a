"""Datasets that are collected on first use, without a download."""
