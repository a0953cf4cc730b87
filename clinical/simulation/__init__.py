"""Invented hospitals whose records hang together: conditions cause findings, findings cause values, notes quote them.

Nothing here is copied from a patient. The tables (`tables/*.toml`) say what each condition does; `medicine` reads them,
`patients` draws who is ill and how it ends, `trajectories` draws what is measured, `discharge` writes the summary in
the style of its house, and `network` makes hospitals that differ as real ones do. The purpose is a network on which
the whole platform can be tried and tested, with effects known by construction; it is not evidence about medicine.
"""

from clinical.simulation.network import simulate_network

__all__ = ["simulate_network"]
