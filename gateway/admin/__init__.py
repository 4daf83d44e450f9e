"""What operators do with a running gateway, and the socket they do it through."""
