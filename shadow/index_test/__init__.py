"""The index test: from spooled instances to a locked prediction. It never sees a report."""
