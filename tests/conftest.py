"""What every test room shares: nothing of a trial's data, only where it may write."""
