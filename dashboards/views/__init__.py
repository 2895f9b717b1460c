"""One page a module. Never rename this folder to pages/."""
