"""May it go? Budgets, counters, rules, decisions and the alerts that they cause: pure, over `pricing`."""
