"""Who shares circuits through a store, and how these stand: `python -m supervisor fleet URL`.

Each module uses only modules above it in this list:

    plan      what the user asked for
    source    a link to the store, and what is wrong if there is none
    words     how the fleet stands, and what has happened to it, in lines for people
    documents the same as JSON
    show      what is seen, and when; what is done by hand
    command   its arguments, and how it ends
"""
