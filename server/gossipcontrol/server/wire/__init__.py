"""Between protobuf and the values of the core, both ways; and the words of every reason."""
