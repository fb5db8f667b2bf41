"""The checks of `repoint doctor`: each measures, has a time limit of its own, and changes nothing.

`domain.checkup` judges what was measured.
"""
