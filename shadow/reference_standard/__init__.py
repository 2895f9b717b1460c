"""The reference standard: from a received report to a label. It never sees a prediction."""
