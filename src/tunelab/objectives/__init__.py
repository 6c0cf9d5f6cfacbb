"""Pure loss functions: from model outputs and labels to a summed loss and a count.

The loop divides once, over the whole optimizer step, so any split into micro-batches gives the
same gradient.
"""
