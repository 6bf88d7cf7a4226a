"""The policy classes, one file each, found by file name (docs/architecture in ARCHITECTURE.md says how to add one)."""
