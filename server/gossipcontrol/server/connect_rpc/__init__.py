"""Calls over HTTP with JSON: the Connect protocol and gRPC-Web, at ``listen.http``."""
