"""Real clients and servers on this machine that fail: in real time, by `make test-integrations`."""
