"""HTTP: calls with JSON (Connect, gRPC-Web), and the web pages: metrics, health, debugging, status."""
