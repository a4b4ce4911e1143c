"""The benchmark: the program compared with baselines and alternatives, on the same records. See docs/performance.md.

records         the vendor's records, generated from the day
vendor          a fake vendor that serves prepared answers
baselines       the least code that does half of the job
alternatives    other tools
subjects        how each program is started and its result read
databases       their databases
resource_timer  time and memory of one command
measure         runs and comparisons
scenarios       what is measured
years           queries on a table of a year
profile         the profile of a first sync
lake            exports to a lake
report          table and picture
"""
