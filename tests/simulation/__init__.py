"""Simulation testing: nights of the whole job, in process, against a simulated vendor that is generated from a seed.

    freedoms       behaviours that the vendor's documentation leaves open, each with the values it is drawn from
    scenario       one vendor: a seed, a number of nights, and a random subset of the freedoms
    world          the charges of an account and their history: late, corrected, withdrawn, repeated
    spelling       a charge as a JSON object or a line of CSV, in every format
    vendor         a fake transport: answers the five calls as the scenario says
    stored         the content of the database
    night          the information that each source gave in a night, and what a correct program can do with it
    oracle         the assertions after a night: the stored days, the open days, the exit code
    runner         the nights of one vendor: the program's own `run_sync` on SQLite
    foci           combinations of freedoms that are too rare by chance
    shrinker       the smallest scenario that still fails in the same way
    without_fixes  known bugs, put back into the program: the simulation must find each of them

The method is that of the simulators of FoundationDB and TigerBeetle. The random subsets are those of swarm testing
(Groce et al., 2012): in a vendor with all freedoms at once, a few of them would hide most bugs.
"""
