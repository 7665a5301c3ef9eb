"""Bytes on the wire: real protocols between a device and its servers, as a tap between them records it."""
