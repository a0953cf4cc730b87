"""What a synthetic cohort is worth and what it gives away: one family of scores a file.

Every score is a `synth.scores.score.Score`: a value with its interval, a baseline and a verdict. What cannot be
computed is inconclusive and never a pass.
"""
