"""Read what a folder, shards, a table or an object store hold with a guard: a row a picture, whatever comes of it.

    sources   what is named -> units in a fixed order: a picture's id, where its bytes are, and its text
    fetching  a unit -> its content's hash, its pixels and what it looks like, in threads ahead of the guard
    local     units, and a guard that reads them, into a folder, on this machine
    on_ray    the same over the machines of a Ray cluster
    folder    rows that survive kill -9: a journal, then parts of parquet
    summary   parts -> how many by label and threshold, what is uncertain, near-duplicates, prevalence

Importing this package alone loads neither torch nor pyarrow.
"""
