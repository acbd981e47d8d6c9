"""A robot in QEMU, its disk, the fleet that it follows, and what is tried on it."""
