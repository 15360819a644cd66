"""HTTP with JSON: the calls of the service over the Connect protocol and gRPC-Web."""
