"""The pages: they read published snapshots and nothing else."""
