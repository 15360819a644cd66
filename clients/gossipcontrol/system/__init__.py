"""What the service and its clients share: the boot and its clock, the home directory, and text from outside."""
