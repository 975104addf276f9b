"""Token labeling (arXiv 2104.10858): dense labels of a teacher, their files, and how a training run uses them."""
