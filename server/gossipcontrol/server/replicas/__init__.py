"""Several replicas of the service, of which one owns the log and serves, and the others stand by."""
