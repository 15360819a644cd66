"""Who may call what: identities, what each owns, and how a call shows whose it is."""
