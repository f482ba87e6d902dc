"""The command line: `python -m supervisor COMMAND`, a module or a package for each command.

Uses public names where they are enough; nobody else uses what is here.

    check      which policy each circuit gets, and why; risks, what it means, and may do
    replay     what a recorded circuit did
    simulate   what policies would have done on a trace of calls
    top        the circuits of running processes, live
    fleet      who shares circuits through a store, and how these stand
    demo       agents against a failing server
    readers    how numbers among their arguments are read; ending, how each of them ends
    texts      what may be printed; terminal, where tables are shown
    pictures   what demo and simulate draw alike; extra, what they need to be installed with
"""
