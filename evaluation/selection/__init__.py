"""Which columns of a table decide its target, and why each other one fell: one answer that can be audited.

A *study* is the table as it was read. An *indicator* is a column of it that may explain the target. A *group* is an
indicator that was elected and those that tell the same. A *probe* is a column of shuffled values, which can explain
nothing. A *pair* is two indicators whose product explains what neither explains alone.
"""
