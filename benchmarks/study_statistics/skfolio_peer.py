"""Runs where skfolio is installed: probabilistic and deflated Sharpe ratios of given returns."""

import sys

import numpy as np
from skfolio.measures import deflated_sharpe_ratio, probabilistic_sharpe_ratio

cases = np.load(sys.argv[1])
answers = [
    [
        probabilistic_sharpe_ratio(cases[f"r{number}"], float(cases[f"b{number}"])),
        deflated_sharpe_ratio(cases[f"r{number}"], cases[f"t{number}"]),
    ]
    for number in range(len(cases.files) // 3)
]
np.save(sys.argv[2], np.array(answers))
