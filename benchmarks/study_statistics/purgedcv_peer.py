"""Runs where purgedcv is installed: the probability of overfitting of given matrices."""

import sys

import numpy as np
from purgedcv import probability_of_backtest_overfitting
from purgedcv._pbo import sharpe

cases = np.load(sys.argv[1])
answers = []
for number in range(len(cases.files) // 2):
    answer = []
    for metric in (sharpe, np.mean):
        blocks = int(cases[f"s{number}"])
        found = probability_of_backtest_overfitting(cases[f"m{number}"].T, blocks, metric=metric)
        answer += [found.pbo, found.slope, found.logits.sum()]
    answers.append(answer)
np.save(sys.argv[2], np.array(answers))
