"""What stands where there is no item."""

PADDING = 0  # among items' ids
IGNORED = -100  # among labels and targets: no loss, as in torch
