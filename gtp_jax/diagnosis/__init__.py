"""Why value guidance helps or hurts in a run."""
