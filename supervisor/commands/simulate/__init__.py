"""Policies played on a trace of calls: `python -m supervisor simulate POLICY.toml TRACE.csv`.

A trace tells when calls ask to be admitted, how each would end, and how long it would run. It is
played to the very machine that guards calls, in virtual time, and the same each time. A trace is
fixed: that callers would come back later, or a server recover sooner, is not in it. Each module
uses only modules above it in this list:

    scenarios  traces made up: outages and the like
    course     what one policy would have done
    player     a trace, played to one policy
    slices     the time of a trace in equal parts, for tables and pictures
    report     what the policies would have done, as text
    picture    the same as SVG or PNG, with matplotlib
    command    its arguments
"""
