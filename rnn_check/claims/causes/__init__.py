"""What single change of an experiment may explain that numbers differ?

One table of mistakes. `sensitivity` plants those that are marked for it, to ask whether a claim
would notice them; `verdicts.diagnosis` makes each where a claim differs, and judges again.

    recurrences   of one recurrence: its weights, its input, its mask, its activation
    experiments   of all that is run: those above put back, layers, loss, how numbers are read
    shown         of what is made of right numbers: rows in another order, another gradient
    gradients     of the arrays that were given, where others are in their place
    entries       one number of an array, and what it should be
    counts        how parameters are counted
"""
