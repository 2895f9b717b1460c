"""The trial, site, model and deployment files as frozen values: what was promised before anyone looked."""
