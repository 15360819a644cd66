"""The web pages: metrics, health, what the service is doing, and the status page."""
