"""Blinded reading: who reads which study, what they are shown, and their answers, locked like predictions.

Nothing here knows what a model or a report said of a study: a reading list of keys comes in, reads go out.
"""
