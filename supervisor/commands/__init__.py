"""The command line: `python -m supervisor COMMAND`, a module or a package for each command.

Uses public names where they are enough; nobody else uses what is here.

    check      which policy each circuit gets, and why
    replay     what a recorded circuit did
    simulate   what policies would have done on a trace of calls
    demo       agents against a failing server
    pictures   what both of these draw alike; extra, what they need to be installed with
"""
