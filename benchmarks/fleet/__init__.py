"""Circuits that processes share through a server: this package beside its peers.

    python -m benchmarks.fleet [--quick] [--processes N]

Real processes, a real server, and contestants that take turns. Each module uses only modules above
it in this list:

    server       a server of Redis's or Valkey's
    sharers      the contestants: ways to share a circuit through a server
    worker       a process that does what it is told with circuits of a contestant
    crew         all of these processes, as the benchmark sees them
    experiments  what they are told, and what comes of it
    report       the table, and the goals
"""
