"""Real servers, the daemon, a churn of changes, and a checker that shares no code with walbrook."""
