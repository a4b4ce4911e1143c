"""The vendor as adversary: nights of the whole job, in process, against a vendor drawn from a seed.

    freedoms   what the vendor's documentation leaves open, each with the range it is drawn from
    scenario   one vendor: a seed, a number of nights, and the random subset of freedoms that it takes
    world      the charges of an account and how they change: late, corrected, withdrawn, repeated
    spelling   a charge as a JSON object or a line of CSV, in every spelling
    vendor     the transport that a run is given: answers the five calls as the scenario says
    stored     what the database has
    night      what each source could tell in a night, and what may be expected of an honest program
    oracle     what may be stored after a night, what must stay open, and which exit code is honest
    runner     the nights of one vendor: the program's own `run_sync` on SQLite
    foci       freedoms that meet too seldom by chance
    shrinker   the smallest scenario that still fails in the same way

In the manner of the simulators of FoundationDB and TigerBeetle; the subsets are those of swarm testing (Groce et al.,
2012): a vendor with all freedoms at once would hide most faults behind a few.
"""
