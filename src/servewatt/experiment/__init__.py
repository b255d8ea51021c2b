"""The pipeline as functions: plan, measure, gather, decide, assess quality. No command line, no terminal.

What goes on is told to an observer; errors say what is wrong and the next step.
"""
