"""The hospital's side of a study: its policy, its admission decision, its training, and the border its replies cross.

Read in this order: `hospital` (who am I and where are my records), `policy` and `admission` (do I take part),
`cohort` (my patients as the study sees them), `training` and `scoring` (the work), `visit` (one message, read),
`replies` (what crosses the border, withheld where policy says so, or noised by `releases`) and `app`, the Flower
handlers, which are the only place that catches broadly. `forecast` answers beforehand what a study would cost here.
"""
