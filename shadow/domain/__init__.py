"""The words every room uses: instants, shifts, keys, the folder of one trial, and the tree of errors."""
