"""Attacks on trained models, and bounds that turn what an attack achieves into evidence for or against a claim.

An audit can refute a promise of differential privacy and can never prove one. So every result here is a value with an
interval, the value of an attacker who sees nothing (the baseline), the number of patients behind it, and a verdict in
three values: *fail* contradicts the claim, *pass* does not contradict it although a breach would have shown,
*inconclusive* says that this audit could not have seen a breach.

* `privacy.audits.record`     what an audit states, and the shape of ``audit.json``;
* `privacy.audits.rates`      true-positive rate at a false-positive rate, and the area under the curve, with intervals;
* `privacy.audits.membership` scores of patients: loss threshold, RMIA, LiRA;
* `privacy.audits.one_run`    epsilon lower bounds from canaries that one training run included by coin flips;
* `privacy.audits.inversion`  reconstruction of inputs from one captured update;
* `privacy.audits.verdict`    claim against evidence.

Arrays in, frozen values out; no model, hospital or file is known here. Imports nothing of ours outside `privacy`.
"""
