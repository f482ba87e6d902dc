"""Processes that share a circuit, against a dead server: `python -m supervisor demo --fleet 4`.

The same pass twice: each process by itself, and all of them through a server of Redis's or
Valkey's. All figures are measured in processes of their own. Each module uses only modules above
it in this list:

    store       the server that circuits are shared through: one that is given, or the demo's own
    diary       what a process tells of its calls and its circuit, as lines, and as it is kept
    worker      the process of some of the agents
    passes      one pass: all processes at work, each by itself or sharing the circuit
    figures     what a pass comes to, in numbers
    view        what happens right now, on the terminal
    report      the table at the end
    picture     both passes as SVG or PNG
    show        store, server, passes, table and picture, one after the other
"""
