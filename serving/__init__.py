"""Every door: REST and command line."""
