"""The listener: sockets, HTTP/1.1, backpressure, drain. Knows nothing of LLMs."""
