"""Many seeds, devices and processes."""
