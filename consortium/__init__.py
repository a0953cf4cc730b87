"""A whole consortium on one machine, made of the processes that a real one has.

Read in this order: `plan` (what `sites.toml` says), `places` (where everything lies), `certificates` (who is who),
`processes` (what runs, by pid), `network` (who can reach whom), then the parts: `coordinator` (SuperLink and proxy),
`databases` (each hospital's PostgreSQL), `hospitals` (a site and its SuperNode), and `topology`, which brings them up
and takes them down. `submission` runs a study. The package is no part of the application that hospitals are sent.
"""
