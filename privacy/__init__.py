"""The guarantees: what one patient can lose by taking part, bounded before anything leaves the hospital.

A hospital's training step promises that its result would be almost equally likely had any one patient been absent.
These modules make that promise, each with one reason to change:

* `privacy.clipping`    how far one patient can move a training step (exact, per patient, at the price of a plain step);
* `privacy.recording`   the one forward and backward pass that says so, and what it refuses to overlook;
* `privacy.layers`      the algebra of each layer type;
* `privacy.release`     the same for counts and metrics: sums over patients that are no gradient;
* `privacy.noise`       what hides the rest, and which patients a step draws;
* `privacy.accounting`  what a sequence of such steps costs, certified from above by two accountants;
* `privacy.composition` the first of them: how the losses of many steps add up;
* `privacy.ledger`      what this hospital's patients have paid over all studies, and the ceiling they never pass.
* `privacy.budget`      what the ledger's rows mean;
* `privacy.export`      the same rows as text, for an auditor;
* `privacy.manifest`    which files a directory holds, to the byte;
* `privacy.signatures`  who answers for them.

`privacy.statement` states the result with everything an epsilon needs to mean something. The unit is the *patient*
throughout: one patient with ten notes is one contributor. Nothing here imports another room of Wardround.
"""
