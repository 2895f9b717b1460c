"""Shadow: a harness that decides whether a medical-imaging model may be switched on in a hospital."""

__version__ = "0.1.0"
