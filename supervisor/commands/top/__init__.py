"""Circuits of running processes, live in a terminal: `python -m supervisor top URL`.

The demo shows its circuits by the same words and table. Each module uses only modules above it in
this list:

    plan      what the user asked for
    reading   what a process has said of its circuits; two of them make rates
    words     what is said of circuits, the one sentence for all of them included
    table     the circuits as a table that fits into a terminal
    source    where readings come from: a `CircuitsApp`, asked by HTTP
    process   a process that is watched: what it has said last, or why it says nothing
    changes   what is different from one reading of a process to the next, in lines
    screen    all that is seen at a time: how things stand, who does not answer, and the circuits
    show      what is seen, and when: a live table, lines, or the table once
    command   its arguments; without third-party packages, like this file and `plan`
"""
