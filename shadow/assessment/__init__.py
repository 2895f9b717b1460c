"""Joins the locked predictions with the reference standard, counts, and publishes."""
