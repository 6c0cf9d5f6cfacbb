"""The contract every task keeps: what is learnt, and everything that differs between kinds of work.

A task never sees a method or the loop. Rows go in as a table; predictions a person can read come out.
"""
