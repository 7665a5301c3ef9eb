"""A province in a box: cells, core, platform, devices and faults whose truth is known; physics first."""
