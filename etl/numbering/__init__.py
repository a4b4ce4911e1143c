"""The numbering plan: files of ranges in, and for each number the operator it was given to.

`plan_file` reads a file, `disjoint` decides where ranges overlap, `importing` brings them into the database.
"""
