"""The store in Redis and Valkey, with servers that are started for it on loopback."""
