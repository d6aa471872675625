"""What eigenvalues say about inputs, and the other ways to rank and select them.

`scores` (relevance and ranking), `top_k` (accuracy with the first k inputs), `selector` (for scikit-learn), `baselines`
(other rankings), `lassonet`.
"""
