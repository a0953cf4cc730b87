"""The gate: what a hospital runs around the application, and owns.

An application that comes over the network cannot be the judge of itself. So the site keeps a process of its own between
Flower and the application: it knows which applications its people have approved, starts nothing else, reads every reply
before it leaves, and writes down what was asked, decided and sent. Nothing in here is part of the bundle that travels.

`executor` is the loop, `nursery` the fork server that runs the application, `approvals` who allowed what, `egress` what
may leave, `journal` the audit log, `site` the folder all of it lives in.
"""
