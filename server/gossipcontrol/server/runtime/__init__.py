"""The event loop's side of the core: events in, effects out once they are kept, timers between."""
