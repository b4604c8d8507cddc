"""What does it cost? Money, usage, prices, estimates and charges: pure, it touches no world."""
