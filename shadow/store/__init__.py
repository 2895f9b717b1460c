"""What is kept: a ledger (the truth), a lake rebuilt from it, a vault of identities, blobs of text."""
