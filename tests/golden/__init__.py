"""Golden files: outputs of the reference implementations under weights of ours, and their check.

`python -m tests.golden FOLDER` checks every file of a folder.
"""
