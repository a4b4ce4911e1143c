"""The benchmark: the program beside floors and peers, on the same records and servers. See docs/performance.md.

`records` is what the vendor has, `vendor` who serves it, `floors` and `peers` are the other contenders, `contenders`
says how each is started and read, `databases` where they write, `stopwatch` and `measure` are the clock, `works` says
what is measured, `report` makes the table and the picture.
"""
