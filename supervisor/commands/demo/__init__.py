"""A dead server, with and without circuits: `python -m supervisor demo`.

Agents call a real HTTP server on loopback, which fails for part of the run and then comes
back; all figures are measured. Each module uses only modules above it in this list:

    plan        what the user asked for, and what follows from it
    clients     the clients that agents call by: the default one, or guarded ones of real packages
    aiohttp_client   that of aiohttp, which need not be there
    server      the ASGI application: it decides when it is dead, and counts its requests
    process     processes that last as long as the demo: that of the server, and others
    page        the page of the circuits, for browsers
    workers     the agents and the operations that they call it by
    passes      one pass: all agents at work, with or without circuits
    figures     what a pass comes to, in numbers
    view        what happens right now, on the terminal
    report      the table at the end
    picture     the timeline of both passes, as PNG
    show        server, passes, table and picture, one after the other
    fleet       the same with processes that share a circuit
    command     its arguments; without third-party packages, like this file and `plan`
"""
