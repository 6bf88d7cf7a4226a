"""The mathematics of flow maps: paths, times, the map and its losses, and what policies on it share."""
