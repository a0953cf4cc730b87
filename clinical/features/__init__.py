"""What a model sees of a record that is not text: measurements on an hourly grid, and what a row sums up of it.

`concepts` says what is measured and on which public scale, `hourly` lays a stay's events on a grid of hours, `rows`
turns the grid into one row for each moment at which something is predicted.
"""
