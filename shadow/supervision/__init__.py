"""Starts, watches, restarts and stops the processes of one folder; says what is wrong with a set-up."""
