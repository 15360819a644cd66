"""What every command says of its option --address."""

ADDRESS_HELP = "The service: unix:/path or [tls:]host:port; several with commas: the one that serves is found."
