"""The critics, one file each, found by file name."""
