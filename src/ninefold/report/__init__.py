"""What is shown of a run and of a paper: figures, claims, kept measurements and their page.

Everything here takes plain records and arrays, so that the engine may draw without a circle.
"""
