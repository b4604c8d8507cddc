"""All that touches the world: sockets, disk, clock, chance. Read `gateway.py` first."""
