"""Other people's programs for the same work, called the way their documentation says.

Belongs here: their environment, and small programs that run in it. Does not: any comparison (accuracy, benchmarks).
"""
