"""The Russian numbering plan: files of number ranges and the operator that each range was assigned to.

`parser` reads a file of the plan, `ranges` resolves overlaps and splits ranges at block boundaries.
`etl.services.numbering` imports the result into the database.
"""
