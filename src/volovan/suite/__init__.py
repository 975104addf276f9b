"""volovan validate MODEL --suite imagenet: one classifier of ImageNet's 1000 classes on ImageNet val and its relatives.

sets.py      the data sets as a table: folders, where to get them, rule
readers.py   a data set in its original layout -> pictures and the classes that are right for each
vizwiz.py    the same for VizWiz, which has tables of its own
classes.py   the 1000 classes in order, and the subsets
scoring.py   the rules, as functions of logits and accepted classes
published.py what others measured on the same weights
report.py    table, suite.json, suite.csv
run.py       the command
"""
